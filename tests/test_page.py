"""The page: its parts without a browser, and a spoken question answered in a real one."""

import re
import subprocess
import sys
import threading
from shutil import which

import numpy as np
import pytest
from fakes import FakeEars, fake_family, tone

from stepaudio.api import StepAudio
from stepaudio.audio import Audio, concat
from stepaudio.errors import InputError
from stepaudio.page.loudspeaker import KEPT, Loudspeaker
from stepaudio.page.turn import answer, latency
from stepaudio.results import Timings

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")


def drain(loudspeaker: Loudspeaker, ticket: str) -> np.ndarray:
    return np.frombuffer(b"".join(loudspeaker.listen(ticket)), "<i2")


def test_the_loudspeaker_hands_each_reply_to_its_ticket_once():
    speaker = Loudspeaker(8000)
    one, two = speaker.open(), speaker.open()
    speaker.say(one, tone(0.1, 8000))
    speaker.say(two, tone(0.2, 8000))
    speaker.close(one)
    speaker.close(two)
    assert (len(drain(speaker, two)), len(drain(speaker, one))) == (1600, 800)
    assert speaker.listen(one) is None
    assert speaker.listen("nobody") is None
    speaker.say(one, tone(0.1, 8000))  # a reply that is over is ignored


def test_the_loudspeaker_forgets_replies_that_nobody_fetches():
    speaker = Loudspeaker(8000)
    tickets = [speaker.open() for _ in range(KEPT + 5)]
    assert speaker.listen(tickets[0]) is None
    assert speaker.listen(tickets[-1]) is not None


def test_a_listener_gets_sound_that_comes_later():
    speaker = Loudspeaker(8000)
    ticket = speaker.open()
    late = threading.Timer(0.05, lambda: (speaker.say(ticket, tone(0.1, 8000)), speaker.close(ticket)))
    late.start()
    assert len(drain(speaker, ticket)) == 800


def test_a_turn_of_the_page_shows_and_says_the_reply(tmp_path):
    family = fake_family()
    speaker = Loudspeaker(8000)
    spoken = tone().save(tmp_path / "q.wav")
    views = list(answer(StepAudio(family).chat(), (), speaker, str(spoken), ""))
    final = views[-1]
    assert [m["role"] for m in final.log] == ["user", "assistant"]
    assert final.log[0]["content"] == "How are you today?"
    assert final.log[1]["content"].strip() == family.mind.reply
    assert len({view.ticket for view in views}) == 1
    assert "first sound" in final.times
    assert np.array_equal(drain(speaker, final.ticket), final.sound[1])


def test_a_failed_turn_still_ends_its_sound(tmp_path):
    speaker = Loudspeaker(8000)
    spoken = tone().save(tmp_path / "q.wav")
    chat = StepAudio(fake_family(ears=FakeEars(text=""))).chat()
    views = []
    with pytest.raises(InputError, match="no speech"):
        views.extend(answer(chat, (), speaker, str(spoken), ""))
    assert len(drain(speaker, views[0].ticket)) == 0


def test_latency_leaves_out_what_did_not_happen():
    assert latency(Timings(None, 0.5, 1.25, 2.0)) == (
        "first text **0.50 s** · first sound **1.25 s** · complete **2.00 s**"
    )


def test_the_application_serves_the_page_and_the_sound():
    pytest.importorskip("gradio")
    from fastapi.testclient import TestClient

    from stepaudio.page.server import application

    client = TestClient(application(StepAudio(fake_family()), ["ada", "ben"]))
    page = client.get("/")
    assert page.status_code == 200
    assert "window.stepaudio" in page.text
    assert client.get("/speech/nobody").status_code == 404


def test_a_taken_port_is_one_clear_error():
    import socket

    from stepaudio.page.server import serve

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve("nano", host="127.0.0.1", port=port, tell=print)


@pytest.fixture
def demo(nano):
    """`stepaudio demo` on a free port; gives its address."""
    server = subprocess.Popen(
        [sys.executable, "-m", "stepaudio.cli.main", "demo", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    log = []
    try:
        for line in server.stderr:
            log.append(line)
            if found := re.search(r"Open (http://\S+)", line):
                # What the server says later must not fill its pipe.
                threading.Thread(target=server.stderr.read, daemon=True).start()
                yield found[1]
                break
        else:
            pytest.fail(f"the demo did not start: {''.join(log)}")
    finally:
        server.terminate()
        server.wait()


@pytest.mark.browser
@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_question_spoken_into_the_page_is_answered_aloud(demo, nano, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    silence = Audio(np.zeros(24_000, np.float32), 24_000)
    question = nano.speak("What is the capital of France?", voice="ben")
    # Three seconds for a browser that opens the microphone late.
    spoken = (
        concat([*[silence] * 3, question, *[silence] * 20]).resample(48_000).save(tmp_path / "question.wav")
    )
    quiet = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
    fake = "use-fake-device-for-media-stream use-fake-ui-for-media-stream disable-component-update"
    options = [f"--{name}" for name in f"{quiet} {fake}".split()]
    options += [
        "--autoplay-policy=no-user-gesture-required",
        f"--use-file-for-fake-audio-capture={spoken}%noloop",
    ]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_context(permissions=["microphone"]).new_page()
        page.set_default_timeout(300_000)  # a busy machine is no failure
        page.goto(demo)
        page.get_by_role("button", name="Record", exact=True).click()
        # By the recorder's own clock, which starts when it hears.
        page.wait_for_function(
            "least => [...document.querySelectorAll('#question time')]"
            ".some(time => time.innerText.split(':').reduce((all, part) => 60 * all + +part, 0) >= least)",
            arg=question.seconds + 4,
        )
        page.locator("#question .stop-button").first.click()
        page.wait_for_function("() => document.querySelector('#latency').innerText.includes('complete')")
        page.wait_for_function("() => window.stepaudio.complete")
        conversation = page.locator("#log").inner_text()
        seconds, level = page.evaluate("() => [window.stepaudio.seconds, window.stepaudio.level]")
        with page.expect_download() as download:
            page.locator("#reply").get_by_label("Download").first.click()
        reply = Audio.read(download.value.path())
        browser.close()
    assert "capital of France" in conversation
    assert "Paris" in conversation
    assert level > 0.05
    assert reply.seconds == pytest.approx(seconds, abs=0.1)
    assert "paris" in nano.transcribe(reply).text.lower()
