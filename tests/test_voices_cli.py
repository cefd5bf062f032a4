"""`stepaudio voices` and `stepaudio clone` on the command line: what they print, refuse and keep."""

import json
from pathlib import Path

import clips
import numpy as np
import pytest
from fakes import FakeCloner, FakeEars, fake_family, tone

from stepaudio.audio import Audio
from stepaudio.voices import Voice, VoiceInfo
from stepaudio.watermark.mark import Detection


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEPAUDIO_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "voices"


@pytest.fixture
def run(home, monkeypatch, tmp_path, cli):
    """Run the CLI with a family that can clone; returns exit code, stdout and stderr."""
    from stepaudio import api
    from stepaudio.cloning import parts

    family = fake_family(cloner=FakeCloner())
    monkeypatch.setattr(api, "load", lambda name="nano", **options: api.StepAudio(family, pull=False))
    monkeypatch.setattr(parts.CloningParts, "encoder", lambda self: _anyone())
    call = cli(tmp_path)
    call.family = family
    return call


def _anyone():
    import torch

    from stepaudio.decoder.ge2e import SpeakerEncoder

    torch.manual_seed(0)
    return SpeakerEncoder().eval()


def voice(name: str = "me", consent: str = "declared 2026-01-01: mine") -> Voice:
    info = VoiceInfo(name, "kokoro", "style-table", "en-us", "female", "CC0-1.0", consent)
    return Voice(info, {"style": np.ones((510, 256), np.float16)})


def test_add_list_show_speak_remove(run, tmp_path) -> None:
    voice().save(tmp_path / "me.safetensors")
    code, out, err = run("voices", "add", "me.safetensors", "--json")
    assert code == 0, err
    assert json.loads(out)["name"] == "me"

    rows = {row["name"]: row for row in json.loads(run("voices", "list", "--json")[1])}
    assert rows["me"]["place"] == "yours"
    assert rows["ada"]["place"] == "shipped"
    assert rows["me"]["consent_kind"] == "declared"
    assert rows["ada"]["family"] == "nano"  # sorted by name and family, so the last of the two
    assert json.loads(run("voices", "list", "--family", "kokoro", "--json")[1])[0]["family"] == "kokoro"
    assert json.loads(run("voices", "list", "--family", "elsewhere", "--json")[1]) == []
    assert "kokoro" in run("voices", "list")[1]

    code, out, _ = run("voices", "show", "me", "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown["tensors"] == {"style": [510, 256]}
    assert (shown["consent"], shown["consent_kind"]) == ("declared 2026-01-01: mine", "declared")
    assert "licence" in run("voices", "show", "ada*0.5+ben*0.5")[1]

    assert run("speak", "Hello.", "--voice", "me", "--no-watermark", "-o", "a.wav")[0] == 0
    assert run("voices", "remove", "me", "--json")[0] == 0
    assert run("voices", "show", "me")[0] == 2


def test_a_taken_name_needs_force(run, home, tmp_path) -> None:
    voice("ada").save(tmp_path / "x.safetensors")
    code, _, err = run("voices", "add", "x.safetensors")
    assert code == 2
    assert "ada is already the name of a shipped voice" in err
    assert run("voices", "add", "x.safetensors", "--name", "ada2")[0] == 0
    code, _, err = run("voices", "add", "x.safetensors", "--name", "ada2")
    assert (code, "a voice of yours" in err) == (2, True)
    assert Voice.load(home / "ada2.safetensors").name == "ada2"
    assert run("voices", "add", "x.safetensors", "--force")[0] == 0
    assert json.loads(run("voices", "show", "ada", "--json")[1])["licence"] == "CC0-1.0"
    assert run("voices", "remove", "ada")[0] == 0
    assert json.loads(run("voices", "show", "ada", "--json")[1])["licence"] == "Apache-2.0"
    assert sorted(path.name for path in home.iterdir()) == ["ada2.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("add", "gone.safetensors"), "no such voice file"),
        (("add", "text.safetensors"), "not a readable voice file"),
        (("add", "nan.safetensors"), "finite"),
        (("add", "ok.safetensors", "--name", "../x"), "cannot be a voice's name"),
        (("add", "ok.safetensors", "--name", "a+b"), "cannot be a voice's name"),
        (("add", "ok.safetensors", "--name", "x.safetensors"), "cannot be a voice's name"),
        (("remove", "ada"), "ships with stepaudio"),
        (("remove", "nobody"), "there are: none"),
        (("remove", "../ok"), "there is no voice"),
        (("show", "nobody"), "unknown voice 'nobody'"),
        (("verify", "gone.wav"), "gone.wav"),
        (("verify", "gone.safetensors"), "no such voice file"),
        (("verify", "text.safetensors"), "not a readable voice file"),
        (("consent", "--language", "xx"), "no consent sentence in 'xx'"),
    ],
)
def test_bad_calls_are_one_line_and_exit_2(run, tmp_path, arguments, reason) -> None:
    (tmp_path / "text.safetensors").write_text("this is text")
    voice().save(tmp_path / "ok.safetensors")
    Voice(voice().info, {"style": np.full((2, 2), np.nan, np.float32)}).save(tmp_path / "nan.safetensors")
    code, out, err = run("voices", *arguments)
    assert (code, out) == (2, "")
    assert reason in err
    assert len(err.strip().splitlines()) == 1


def test_verify_tells_the_consent_of_a_voice(run, tmp_path) -> None:
    voice().save(tmp_path / "me.safetensors")
    found = json.loads(run("voices", "verify", "me.safetensors", "--json")[1])
    assert (found["voice"], found["consent_kind"]) == ("me", "declared")
    assert "consent declared" in run("voices", "verify", "me.safetensors")[1]


def test_verify_tells_the_watermark_of_a_sound(run, tmp_path, monkeypatch) -> None:
    from stepaudio.watermark import mark

    class Fake:
        score = 0.97

        def detect(self, audio: Audio) -> Detection:
            return Detection(self.score >= 0.5, self.score, 0.5)

    monkeypatch.setattr(mark, "load_watermark", lambda: Fake())
    tone(1.0).save(tmp_path / "a.wav")
    found = json.loads(run("voices", "verify", "a.wav", "--json")[1])
    assert found == {"file": "a.wav", "watermark": "perth", "score": 0.97, "share": 0.5, "seconds": 1.0}
    assert "carries the watermark" in run("voices", "verify", "a.wav")[1]
    monkeypatch.setattr(Fake, "score", 0.03)
    assert json.loads(run("voices", "verify", "a.wav", "--json")[1])["watermark"] is None
    assert "no watermark found" in run("voices", "verify", "a.wav")[1]


def test_speak_says_whether_it_marked(run, monkeypatch) -> None:
    from stepaudio.cloning import parts

    class Fake:
        name = "perth"

        def load(self) -> None: ...

        def run(self, chunks):
            yield from chunks

    monkeypatch.setattr(
        parts.CloningParts, "watermark", lambda self, voice, wanted: Fake() if wanted else None
    )
    assert json.loads(run("speak", "Hello.", "--json")[1])["watermark"] is None
    assert json.loads(run("speak", "Hello.", "--watermark", "--json")[1])["watermark"] == "perth"


def test_clone_with_a_reading(run, tmp_path, monkeypatch) -> None:
    from stepaudio.cloning import people

    monkeypatch.setattr(people, "likeness", lambda encoder, one, other: 0.8)
    clips.speech(*clips.ADA).save(tmp_path / "me.wav")
    clips.speech(*clips.ADA).save(tmp_path / "consent.wav")
    call = ("clone", "me.wav", "-o", "me.safetensors", "--consent", "consent.wav", "--json")
    code, _, err = run(*call)
    assert (code, "no sentence is waiting" in err) == (2, True)

    code, out, err = run("voices", "consent")
    assert code == 0
    assert "read this aloud" in err
    sentence = out.strip()
    ears: FakeEars = run.family.ears
    ears.text = "I agree to nothing at all."
    code, _, err = run(*call)
    assert (code, sentence in err) == (2, True)
    assert not (tmp_path / "me.safetensors").exists()

    ears.text = sentence
    code, out, err = run(*call)
    assert code == 0, err
    made = json.loads(out)
    assert (made["name"], made["consent_kind"], made["warnings"]) == ("me", "read", [])
    assert sentence in Voice.load(tmp_path / "me.safetensors").info.consent
    code, _, err = run(*call)  # the same recording a second time
    assert (code, "no sentence is waiting" in err) == (2, True)


def test_clone_with_a_word_and_warnings(run, tmp_path) -> None:
    clips.over(clips.speech(*clips.ADA), clips.noise(), 8).save(tmp_path / "me.wav")
    code, out, err = run("clone", "me.wav", "-o", "me.safetensors", "--i-have-consent", "--json")
    assert code == 0, err
    assert json.loads(out)["consent_kind"] == "declared"
    assert any("noisy" in warning for warning in json.loads(out)["warnings"])
    assert err.startswith("stepaudio: warning: the clip is noisy")


@pytest.mark.parametrize(
    ("clip", "options", "reason"),
    [
        ("me.wav", (), "needs its speaker's consent"),
        ("me.wav", ("--consent", "me.wav", "--i-have-consent"), "not both"),
        ("me.wav", ("--consent", "gone.wav"), "gone.wav"),
        ("silent.wav", ("--i-have-consent",), "silent"),
        ("music.wav", ("--i-have-consent",), "music or noise"),
        ("short.wav", ("--i-have-consent",), "s of speech"),
        ("gone.wav", ("--i-have-consent",), "gone.wav"),
    ],
)
def test_what_cannot_be_cloned_is_one_line(run, tmp_path, clip, options, reason) -> None:
    clips.speech(*clips.ADA).save(tmp_path / "me.wav")
    Audio(np.zeros(64_000, np.float32), 16_000).save(tmp_path / "silent.wav")
    clips.scaled(clips.chords()).save(tmp_path / "music.wav")
    Audio(clips.speech(1).samples[:20_000], 16_000).save(tmp_path / "short.wav")
    code, out, err = run("clone", clip, "-o", "me.safetensors", *options)
    assert (code, out) == (2, "")
    assert reason in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "me.safetensors").exists()


def test_a_cloned_voice_without_the_watermark_is_an_error(run, tmp_path) -> None:
    voice().save(tmp_path / "me.safetensors")
    code, _, err = run("speak", "Hello.", "--voice", "me.safetensors", "-o", "a.wav")
    assert code == 2
    assert "watermark's weights are missing" in err
    assert not (tmp_path / "a.wav").exists()
