"""The watermark: a network of random weights for the plumbing, the real one where it is pulled."""

from collections.abc import Iterator
from pathlib import Path

import clips
import numpy as np
import pytest
import torch
from fakes import FakeMouth, fake_family, tone

from stepaudio.api import StepAudio
from stepaudio.audio import Audio, concat
from stepaudio.cloning.consent import Consent
from stepaudio.errors import ModelError
from stepaudio.families.base import Answer
from stepaudio.voices import Voice, VoiceInfo
from stepaudio.watermark.boxes import MarkedPartner, marked
from stepaudio.watermark.mark import CARD, MARKED, Watermark
from stepaudio.watermark.network import PerthNet


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("perth")
    save_file(PerthNet().state_dict(), folder / "model.safetensors")
    return Watermark(folder)


@pytest.fixture(scope="module")
def perth() -> Watermark:
    from stepaudio import hub

    try:
        return Watermark(hub.folder(CARD))
    except ModelError:
        pytest.skip(f"the model {CARD} is not pulled")


def cloned(consent: str = "") -> Voice:
    record = consent or Consent.declared().record
    info = VoiceInfo("me", "kokoro", "cloned", "en-us", "unknown", "the speaker's own", record)
    return Voice(info, {"speaker": np.ones(4, np.float32)})


def in_pieces(audio: Audio, seconds: float) -> Iterator[Audio]:
    size = max(1, int(seconds * audio.sample_rate))
    for at in range(0, audio.samples.size, size):
        yield Audio(audio.samples[at : at + size], audio.sample_rate)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 24_000])
def test_a_stream_is_marked_as_the_whole_is(untrained: Watermark, rate: int) -> None:
    speech = clips.speech(1).resample(rate)
    whole = untrained.mark(speech)
    assert whole.samples.shape == speech.samples.shape
    change = float(np.abs(whole.samples - speech.samples).max())
    assert change > 1e-3
    for seconds in (0.137, 1.0):
        out = list(untrained.run(in_pieces(speech, seconds)))
        assert len(out) > 1
        streamed = concat(out)
        assert streamed.samples.shape == whole.samples.shape
        np.testing.assert_allclose(streamed.samples, whole.samples, atol=1e-3 * change)


def test_any_length_keeps_its_length(untrained: Watermark) -> None:
    for size in (0, 1, 100, 2047, 9601):
        audio = Audio(np.full(size, 0.1, np.float32), 24_000)
        assert untrained.mark(audio).samples.size == size
        assert sum(chunk.samples.size for chunk in untrained.run([audio])) == size
        assert 0.0 <= untrained.detect(audio).score <= 1.0
    assert list(untrained.run([])) == []


def test_silence_stays_silent_and_is_not_marked(untrained: Watermark) -> None:
    silence = Audio(np.zeros(48_000, np.float32), 24_000)
    assert not untrained.mark(silence).samples.any()
    assert not untrained.detect(silence).marked


def test_cloned_voices_are_marked_and_others_only_when_asked(untrained: Watermark) -> None:
    sa = StepAudio(fake_family(), pull=False)
    sa._parts._watermark = untrained
    plain = sa.speak("Hello there, my friend.", voice="ada")
    np.testing.assert_array_equal(
        sa.speak("Hello there, my friend.", voice=cloned(), watermark=False).samples, plain.samples
    )
    for said in (
        sa.speak("Hello there, my friend.", voice=cloned()),
        sa.speak("Hello there, my friend.", voice=cloned("read 2026-01-01: words")),
        sa.speak("Hello there, my friend.", voice="ada", watermark=True),
        sa.chat(voice=cloned()).send(text="Hi.").audio,
    ):
        assert said is not None
        assert not np.array_equal(said.samples[: plain.samples.size], plain.samples)
    unmarked = sa.chat(voice="ada").send(text="Hi.").audio
    told = sa.chat(voice="ada", watermark=True).send(text="Hi.").audio
    assert unmarked is not None
    assert told is not None
    assert unmarked.samples.shape == told.samples.shape
    assert not np.array_equal(unmarked.samples, told.samples)


def test_a_partner_keeps_its_words_and_all_of_its_sound(untrained: Watermark) -> None:
    class Partner:
        keeps_sound, uses_tools, result_instruction = True, False, "say it"

        def answer(self, messages, *, voice, style, seed=None, cancel=None, tools=()):
            yield Answer(text="Hello ")
            for _ in range(3):
                yield Answer(text="again ", audio=tone(0.5))

    pieces = list(MarkedPartner(Partner(), untrained).answer([], voice=cloned(), style=None))
    assert "".join(piece.text for piece in pieces) == "Hello again again again "
    sound = concat([piece.audio for piece in pieces if piece.audio is not None])
    assert sound.seconds == pytest.approx(1.5)
    family = marked(fake_family(mouth=FakeMouth(), partner=Partner()), untrained)
    assert isinstance(family.partner, MarkedPartner)
    assert (family.partner.keeps_sound, family.partner.result_instruction) == (True, "say it")
    assert family.mouth.default_voice == "ada"


def test_without_weights_there_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPAUDIO_HOME", str(tmp_path))
    sa = StepAudio(fake_family(), pull=False)
    with pytest.raises(ModelError, match=f"watermark's weights are missing.*{CARD}"):
        sa.speak("Hello.", voice=cloned())


@pytest.mark.slow
def test_the_real_mark_is_found_after_what_happens_to_sound(perth: Watermark, tmp_path: Path) -> None:
    for speech in (clips.speech(*clips.ADA), clips.speech(*clips.BEN)):
        speech = speech.resample(24_000)
        made = perth.mark(speech)
        assert perth.detect(speech).score < 0.2
        changed = {
            "itself": made,
            "a quarter of the level": Audio(made.samples * np.float32(0.25), 24_000),
            "8 kHz": made.resample(8000),
            "a second of it": Audio(made.samples[24_000:48_000], 24_000),
            "MP3": Audio.read(made.save(tmp_path / "x.mp3")),
            "Opus": Audio.read(made.save(tmp_path / "x.ogg")),
        }
        for how, sound in changed.items():
            assert perth.detect(sound).score >= MARKED, how
        within = concat([speech, speech, made, speech])
        assert perth.detect(within).marked
        assert perth.detect(within).share < 1
