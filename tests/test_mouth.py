"""The real mouth, end to end: what it says is heard by Whisper tiny.en."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sizes import full_only, size

from stepaudio.audio import Audio, concat
from stepaudio.decoder.kokoro import KokoroMouth
from stepaudio.decoder.kokoro_graph import MAX_TOKENS, Kokoro, split_phonemes
from stepaudio.errors import InputError, ModelError
from stepaudio.speech.stream import SpeechStream
from stepaudio.styles import Style, parse_style
from stepaudio.voices import mix

SENTENCES = [
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.",
    "Rice is often served in round bowls.",
    "The box was thrown beside the parked truck.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "Please bring me a cup of coffee and a glass of water.",
    "What time does the next train leave for the city?",
]

Hear = Callable[[Audio], list[str]]


@pytest.fixture(scope="session")
def mouth() -> KokoroMouth:
    return KokoroMouth(_pulled("kokoro-82m"), threads=1).load()


@pytest.fixture(scope="session")
def hear() -> Hear:
    from faster_whisper import WhisperModel

    whisper = WhisperModel(str(_pulled("whisper-tiny.en")), device="cpu", compute_type="int8", cpu_threads=1)

    def words(audio: Audio) -> list[str]:
        segments, _ = whisper.transcribe(audio.resample(16_000).samples, beam_size=1)
        return re.sub(r"[^a-z0-9' ]", " ", " ".join(segment.text for segment in segments).lower()).split()

    return words


def _pulled(name: str) -> Path:
    from stepaudio import hub

    if not hub.is_present(hub.load_card(name)):
        pytest.skip(f"the model {name} is not pulled")
    return hub.folder(name)


def speak(mouth: KokoroMouth, text: str | list[str], voice: str = "ada", style: Style | None = None) -> Audio:
    stream = SpeechStream(mouth, voice=mouth.voice(voice), style=style or Style())
    return concat(list(stream.run([text] if isinstance(text, str) else text)))


@pytest.mark.e2e
def test_what_is_said_is_heard(mouth: KokoroMouth, hear: Hear) -> None:
    jiwer = pytest.importorskip("jiwer")
    sentences = SENTENCES[: size(5, 10)]
    said = [re.sub(r"[^a-z ]", "", sentence.lower()) for sentence in sentences]
    heard = [" ".join(hear(speak(mouth, sentence))) for sentence in sentences]
    heard = [text.replace("4 hours", "four hours") for text in heard]
    assert jiwer.wer(said, heard) <= 0.1, heard


@pytest.mark.e2e
@pytest.mark.parametrize("voice", ["ada*0.6+ben*0.4", "amy", "ben"][: size(1, 3)])
def test_other_voices_and_mixes_are_heard(mouth: KokoroMouth, hear: Hear, voice: str) -> None:
    assert hear(speak(mouth, SENTENCES[8], voice))[-4:] == ["a", "glass", "of", "water"]


@pytest.mark.e2e
def test_a_mix_sounds_like_neither_of_its_voices(mouth: KokoroMouth) -> None:
    ada, ben, both = (speak(mouth, "Good day.", name) for name in ("ada", "ben", "ada*0.5+ben*0.5"))
    assert not np.array_equal(both.samples[:4000], ada.samples[:4000])
    assert not np.array_equal(both.samples[:4000], ben.samples[:4000])
    again = mix({"ada": 1, "ben": 1})
    stream = SpeechStream(mouth, voice=again, style=Style())
    np.testing.assert_allclose(concat(list(stream.run(["Good day."]))).samples, both.samples, atol=1e-3)


@pytest.mark.e2e
def test_speed_changes_the_length(mouth: KokoroMouth) -> None:
    normal = speak(mouth, SENTENCES[9]).seconds
    speeds = {"慢速": 0.8, "speed=1.5": 1.5, "fast": 1.25, "speed=0.5": 0.5}
    for style, factor in list(speeds.items())[: size(1, 4)]:
        changed = speak(mouth, SENTENCES[9], style=parse_style(style)).seconds
        assert normal / changed == pytest.approx(factor, rel=0.15)


@pytest.mark.e2e
def test_it_says_the_same_every_time_and_streamed_as_offline(mouth: KokoroMouth) -> None:
    text = "Well, to tell you the truth, it rained. We stayed at home!"
    whole = speak(mouth, text).samples
    np.testing.assert_array_equal(speak(mouth, text).samples, whole)
    np.testing.assert_array_equal(speak(mouth, list(text)).samples, whole)


@full_only
@pytest.mark.e2e
def test_more_phonemes_than_the_model_takes(mouth: KokoroMouth) -> None:
    digits = "1234567890 " * 15
    assert speak(mouth, digits).seconds > 30


@pytest.mark.e2e
def test_bad_text_is_one_clear_error(mouth: KokoroMouth) -> None:
    for text, reason in (
        ("", "nothing to say"),
        ("?! 😀", "nothing to say"),
        ("你好世界", "this voice speaks en-us"),
    ):
        with pytest.raises(InputError, match=reason):
            speak(mouth, text)


def test_long_phonemes_are_cut_at_marks_or_spaces() -> None:
    pieces = split_phonemes("abc def, " * 200)
    assert all(len(piece) <= MAX_TOKENS for piece in pieces)
    assert "".join(piece.replace(" ", "") for piece in pieces) == "abcdef," * 200
    assert all(piece.rstrip().endswith(",") for piece in pieces)
    assert [len(piece) for piece in split_phonemes("a" * 1100)] == [510, 510, 80]
    assert split_phonemes("") == []


def test_a_folder_without_the_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"vocab\.json"):
        Kokoro(tmp_path).load()
    (tmp_path / "vocab.json").write_text('{"vocab": {"a": 1}}')
    with pytest.raises(ModelError, match=r"model\.onnx: no such model file"):
        Kokoro(tmp_path).load()
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="not a usable model"):
        Kokoro(tmp_path).load()
