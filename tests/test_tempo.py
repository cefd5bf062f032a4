"""Speech made faster and slower: length, pitch, chunking."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.audio import Audio, concat
from stepaudio.speech import tempo

RATE = 22050


def tone(seconds: float, hertz: float = 220.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_length_changes_and_pitch_stays(speed: float) -> None:
    out = concat(list(tempo.change_pace([Audio(tone(1.0), RATE)], speed)))
    assert out.samples.size == round(RATE / speed)
    middle = out.samples[2000:-2000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
    assert np.argmax(spectrum) * RATE / middle.size == pytest.approx(220, abs=3)
    # Frames are joined in phase: the level never sinks between them.
    level = np.abs(middle[: middle.size // 220 * 220].reshape(-1, 220)).max(1)
    assert level.min() > 0.9


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=8), st.floats(0.5, 2.0))
@settings(max_examples=25, deadline=None)
def test_chunking_changes_nothing(sizes: list[int], speed: float) -> None:
    sound = np.random.default_rng(0).standard_normal(sum(sizes)).astype(np.float32)
    whole, parts = tempo.start(speed, RATE), tempo.start(speed, RATE)
    offline = np.concatenate([tempo.push(whole, sound), tempo.finish(whole)])
    pieces = np.split(sound, np.cumsum(sizes)[:-1])
    streamed = np.concatenate([*(tempo.push(parts, piece) for piece in pieces), tempo.finish(parts)])
    assert offline.size == round(sound.size / speed)
    np.testing.assert_array_equal(offline, streamed)


def test_normal_pace_is_left_alone() -> None:
    chunks = [Audio(tone(0.1), RATE), Audio(tone(0.2), RATE)]
    assert list(tempo.change_pace(chunks, 1.0)) == chunks


def test_silence_and_nothing() -> None:
    assert list(tempo.change_pace([], 1.5)) == []
    quiet = concat(list(tempo.change_pace([Audio(np.zeros(RATE, np.float32), RATE)], 1.5)))
    assert not quiet.samples.any()
