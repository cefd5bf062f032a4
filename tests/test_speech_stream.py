"""Joining clauses, with a mouth that says each letter as a short tone."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.audio import Audio, concat
from stepaudio.errors import InputError
from stepaudio.speech.join import (
    END_S,
    PAUSE_COMMA_S,
    PAUSE_PARAGRAPH_S,
    PAUSE_SENTENCE_S,
    START_S,
    EdgeTrimmer,
    pause_after,
)
from stepaudio.speech.stream import SpeechStream
from stepaudio.styles import Style
from stepaudio.voices import Voice, VoiceInfo

RATE = 8000
VOICE = Voice(VoiceInfo("toy", "toy", "none", "en-us", "female", "CC0-1.0"), {})


class ToneMouth:
    sample_rate = RATE
    default_voice = "toy"
    languages = ("en",)

    def __init__(self, chunk: int = 10_000) -> None:
        self.said: list[tuple[str, int | None]] = []
        self.chunk = chunk

    def load(self) -> "ToneMouth":
        return self

    def voice(self, name: str) -> Voice:
        return VOICE

    def speak(self, text: str, *, voice: Voice, style: Style, seed: int | None = None) -> Iterator[Audio]:
        self.said.append((text, seed))
        tone = np.sin(np.arange(200 * len(text)) * 0.3).astype(np.float32) * 0.5
        tone[:80] *= np.linspace(0, 1, 80, dtype=np.float32)
        tone[-80:] *= np.linspace(1, 0, 80, dtype=np.float32)
        edge = np.zeros(RATE // 2, np.float32)
        samples = np.concatenate([edge, tone, edge])
        for start in range(0, samples.size, self.chunk):
            yield Audio(samples[start : start + self.chunk], RATE)


def speak(deltas: list[str], chunk: int = 10_000) -> np.ndarray:
    stream = SpeechStream(ToneMouth(chunk), voice=VOICE, style=Style())
    return concat(list(stream.run(deltas))).samples


def test_streamed_text_sounds_as_offline_text() -> None:
    text = "One, two; three. Four!\n\nFive? “Six.” Seven... eight."
    whole = speak([text])
    np.testing.assert_array_equal(speak(list(text)), whole)
    np.testing.assert_array_equal(speak([text], chunk=77), whole)


def test_clauses_are_joined_without_clicks() -> None:
    samples = speak(["One is here. Two is there.\n\nThree."])
    assert abs(samples[0]) < 0.01
    assert abs(samples[-1]) < 0.01
    assert np.abs(np.diff(samples)).max() < 0.2


def test_silence_stands_around_a_text() -> None:
    samples = speak(["😀 One is here. Two."])
    loud = np.flatnonzero(samples)
    assert loud[0] / RATE == pytest.approx(START_S + 0.03, abs=0.01)
    assert (len(samples) - loud[-1]) / RATE == pytest.approx(END_S + 0.08, abs=0.02)


def test_the_gaps_are_the_pauses() -> None:
    samples = speak(["One is here. Two is there.\n\nThree."])
    loud = np.flatnonzero(np.abs(samples) > 0.05)
    gaps = np.diff(loud)[np.diff(loud) > RATE // 10] / RATE
    edges = 0.11  # what is kept before and after each clause
    assert gaps == pytest.approx([PAUSE_SENTENCE_S + edges, PAUSE_PARAGRAPH_S + edges], abs=0.02)


@pytest.mark.parametrize(
    ("clause", "seconds"),
    [
        ("Yes. ", PAUSE_SENTENCE_S),
        ('"Yes!" ', PAUSE_SENTENCE_S),
        ("Yes, ", PAUSE_COMMA_S),
        ("yes ", 0.0),
        ("Title\n\n", PAUSE_PARAGRAPH_S),
        ("item\n", PAUSE_SENTENCE_S),
        ("好。", PAUSE_SENTENCE_S),
        ("", 0.0),
    ],
)
def test_pause_after_a_clause(clause: str, seconds: float) -> None:
    assert pause_after(clause) == seconds
    assert pause_after(clause, 2.0) == seconds / 2


@pytest.mark.parametrize("text", ["", "  \n", "...", "😀", "—"])
def test_a_text_without_words_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="nothing to say"):
        speak([text])


def test_marks_and_emoji_in_a_stream_are_passed_over() -> None:
    mouth = ToneMouth()
    stream = SpeechStream(mouth, voice=VOICE, style=Style(), seed=5)
    list(stream.run(["Good. ", "😀! ", "More."]))
    assert mouth.said == [("Good.", 5), ("More.", 6)]


def test_another_script_is_an_error_after_the_rest_was_said() -> None:
    mouth = ToneMouth()
    stream = SpeechStream(mouth, voice=VOICE, style=Style())
    with pytest.raises(InputError, match="cannot say '你好！'"):
        list(stream.run(["Hello. ", "你好！ ", "Bye."]))
    assert [text for text, _ in mouth.said] == ["Hello.", "Bye."]


def test_a_long_text_is_spoken_clause_by_clause() -> None:
    mouth = ToneMouth()
    stream = SpeechStream(mouth, voice=VOICE, style=Style())
    chunks = stream.run(["This is a sentence of no great length. " * 260])  # 10,140 characters
    next(chunks)
    assert len(mouth.said) == 1
    assert sum(1 for _ in chunks) >= 260
    assert len(mouth.said) == 260


@given(st.lists(st.sampled_from([0.0, 0.001, 0.5, -0.4]), max_size=400), st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_trimming_in_chunks_is_trimming_at_once(values: list[float], size: int) -> None:
    samples = np.array(values, np.float32)
    whole, parts = EdgeTrimmer(1000), EdgeTrimmer(1000)
    at_once = np.concatenate([whole.push(samples), whole.finish()])
    out = [parts.push(samples[start : start + size]) for start in range(0, samples.size, size)]
    chunked = np.concatenate([*out, parts.finish()])
    assert chunked.size == at_once.size
    loud = np.flatnonzero(np.abs(samples) > 0.004)
    assert (at_once.size == 0) == (loud.size == 0)
    np.testing.assert_allclose(chunked[6:], at_once[6:], atol=1e-6)
