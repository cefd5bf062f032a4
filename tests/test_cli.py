"""The command line with a scripted family: outputs, JSON contracts, exit codes, one-line errors."""

import json
import subprocess
import sys

import pytest
from fakes import FakeEars, fake_family, tone

from stepaudio.audio import Audio


@pytest.fixture
def run(monkeypatch, tmp_path, cli):
    """Run the CLI in a folder of its own; returns exit code, stdout and stderr."""
    from stepaudio import api

    family = fake_family()
    monkeypatch.setattr(api, "load", lambda name="nano", **options: api.StepAudio(family))
    call = cli(tmp_path)
    call.family = family
    return call


@pytest.fixture
def question(tmp_path):
    return tone(2.0).save(tmp_path / "q.wav")


def test_chat_json_has_the_promised_fields(run, question, tmp_path):
    code, out, err = run("chat", question, "-o", "a.wav", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["transcript"] == "How are you today?"
    assert answer["reply"] == run.family.mind.reply
    assert answer["model"] == "fake"
    assert answer["tool_calls"] == []
    assert {"transcribe_s", "first_text_s", "first_audio_s", "total_s"} <= set(answer["timings"])
    assert Audio.read(tmp_path / answer["reply_audio"]).seconds > 1


def test_chat_for_people_shows_both_sides(run, question, tmp_path):
    code, out, _ = run("chat", question)
    assert code == 0
    assert "You:   How are you today?" in out
    assert f"Reply: {run.family.mind.reply}" in out
    assert (tmp_path / "reply.wav").exists()


def test_chat_reads_stdin(run, question):
    code, out, _ = run("chat", "-", "--json", stdin=question.read_bytes())
    assert code == 0
    assert json.loads(out)["transcript"] == "How are you today?"


def test_speak_json_has_the_promised_fields(run, tmp_path):
    code, out, _ = run("speak", "Hello there.", "-o", "h.wav", "--json", "--voice", "ben", "--style", "slow")
    assert code == 0
    said = json.loads(out)
    assert list(said) == [
        "audio", "seconds", "first_audio_s", "total_s", "rtf", "voice", "style", "sample_rate", "watermark"
    ]  # fmt: skip
    assert (said["voice"], said["style"], said["sample_rate"]) == ("ben", "slow", 8000)
    assert said["seconds"] == pytest.approx(Audio.read(tmp_path / "h.wav").seconds, abs=0.01)


def test_speak_reads_text_from_stdin_and_defaults_to_speech_wav(run, tmp_path):
    code, _, err = run("speak", "-", stdin=b"Hello from a pipe.")
    assert code == 0
    assert "speech.wav" in err
    assert (tmp_path / "speech.wav").exists()


LONG = {
    "sentences": "The quick brown fox jumps over the lazy dog. " * 230,
    "no spaces": "a" * 10_000,
    "digits": "1234567890" * 1000,
    "no full stop": "and so it went on " * 560,
    "mixed with emoji": "Fine 😀, " * 1250,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_ten_thousand_characters_are_spoken(run, tmp_path, text):
    code, _, err = run("speak", text, "-o", "long.wav")
    assert code == 0, err
    said = "".join(clause for clause, *_ in run.family.mouth.said)
    assert [c for c in said if c.isalnum()] == [c for c in text if c.isalnum()]
    assert max(len(clause) for clause, *_ in run.family.mouth.said) <= 400


def test_what_comes_in_another_script_costs_one_line_at_the_end(run, tmp_path):
    code, out, err = run("speak", "Good morning. Доброе утро! Good night.", "-o", "x.wav")
    assert (code, out) == (2, "")
    assert "Доброе утро" in err
    assert len(err.strip().splitlines()) == 1


def test_transcribe_json_lists_every_file(run, question):
    code, out, _ = run("transcribe", question, question, "--json")
    rows = json.loads(out)
    assert code == 0
    assert len(rows) == 2
    assert list(rows[0]) == ["file", "text", "language", "segments", "seconds", "rtf"]
    assert rows[0]["seconds"] == 2.0


@pytest.mark.parametrize(
    ("format", "start"), [("srt", "1\n00:00:00,000"), ("vtt", "WEBVTT"), ("text", "How")]
)
def test_transcribe_formats(run, question, format, start):
    code, out, _ = run("transcribe", question, "--format", format)
    assert code == 0
    assert out.startswith(start)


def test_a_bad_file_does_not_stop_the_others(run, question, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("this is text")
    code, out, err = run("transcribe", bad, question)
    assert code == 2
    assert "How are you today?" in out
    assert err.count("\n") == 1
    assert "bad.wav" in err


BAD_CALLS = [
    (("chat", "missing.wav"), "missing.wav"),
    (("chat", "q.wav", "-o", "no/such/folder/a.wav"), "no such folder"),
    (("chat", "q.wav", "-o", "a.xyz"), "unknown audio format"),
    (("chat", "q.wav", "--voice", "zed"), "zed"),
    (("chat", "q.wav", "--style", "sparkling"), "sparkling"),
    (("chat", "q.wav", "--json", "-o", "-"), "both want stdout"),
    (("chat", "--json"), "QUESTION"),
    (("speak", ""), "nothing to say"),
    (("speak", " \n\t "), "nothing to say"),
    (("speak", "?! … — ()"), "nothing to say"),
    (("speak", "😀🎉👍🏽"), "nothing to say"),
    (("speak", "😀" * 10_000), "nothing to say"),
    (("speak", "\u200b\ufeff\u0301"), "nothing to say"),
    (("speak", "Привет, как дела?"), "this voice speaks en-us"),
    (("speak", "hi", "--voice", "zed"), "unknown voice 'zed'; there are: ada, amy"),
    (("speak", "hi", "--voice", "gone.safetensors"), "no such voice file"),
    (("speak", "hi", "--style", "sparkling"), "unknown style tag 'sparkling'; there are:"),
    (("speak", "hi", "--style", "speed=9"), "out of range"),
    (("speak", "hi", "--stream", "-o", "x.wav"), "--stream"),
    (("speak", "你好"), "你"),
    (("bench", "nope"), "nope"),
    (("models", "show", "nope"), "nope"),
]


@pytest.mark.parametrize(("arguments", "named"), BAD_CALLS, ids=lambda value: str(value)[:40])
def test_bad_input_is_one_line_and_exit_2(run, question, arguments, named):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("stepaudio: ")
    assert err.count("\n") == 1
    assert named in err


def test_silence_is_one_line_and_exit_2(run, question, monkeypatch):
    monkeypatch.setattr(run.family.ears, "text", "")
    code, _, err = run("chat", question)
    assert (code, err) == (2, "stepaudio: no speech was found in the question\n")


def test_unknown_options_are_usage_errors(run):
    assert run("speak", "hi", "--nonsense")[0] == 2
    assert run("frobnicate")[0] == 2


def test_voices_and_models_lists(run):
    code, out, _ = run("voices", "list", "--json")
    assert code == 0
    assert "ada" in [voice["name"] for voice in json.loads(out)]
    code, out, _ = run("models", "list", "--json")
    assert code == 0
    assert "nano" in [model["name"] for model in json.loads(out)]


def test_every_command_has_help():
    for command in ("chat", "transcribe", "speak", "clone", "voices", "models", "bench", "demo"):
        done = subprocess.run(
            [sys.executable, "-m", "stepaudio.cli.main", command, "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout


def test_fake_ears_hear_what_the_file_holds(run, question):
    run("chat", question, "--json")
    ears: FakeEars = run.family.ears
    assert ears.heard[-1].seconds == 2.0
