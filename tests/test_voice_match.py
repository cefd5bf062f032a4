"""Mean and spread that decoding loses, put back."""

import numpy as np
import pytest

from stepaudio.decoder.voice_match import FEWEST, MOST, VoiceMatch
from stepaudio.decoder.world import SPECTRUM, WIDTH

AT = slice(2, 2 + SPECTRUM)


def speech(seed: int, frames: int = 400) -> np.ndarray:
    random = np.random.default_rng(seed)
    world = random.normal(size=(frames, WIDTH)).astype(np.float32)
    world[:, 1] = 1.0
    return world


def test_what_was_smoothed_gets_most_of_its_spread_back() -> None:
    wanted = speech(0)
    made = wanted.copy()
    made[:, AT] = 0.6 * wanted[:, AT] + 0.5
    match = VoiceMatch.of(made, wanted)
    assert match is not None
    corrected = match.apply(made)
    assert np.allclose(corrected[:, AT].mean(0), wanted[:, AT].mean(0), atol=1e-4)
    spread = corrected[:, AT].std(0) / wanted[:, AT].std(0)
    assert np.all((spread > 0.8) & (spread < 1.0))


def test_frames_without_a_voice_and_other_columns_stay() -> None:
    wanted = speech(1)
    made = wanted.copy()
    made[:, AT] *= 0.5
    made[100:, 1] = 0.0
    match = VoiceMatch.of(made, wanted)
    assert match is not None
    corrected = match.apply(made)
    assert np.array_equal(corrected[100:], made[100:])
    assert np.array_equal(corrected[:, :2], made[:, :2])
    assert np.array_equal(corrected[:, AT.stop :], made[:, AT.stop :])


def test_gains_are_bounded_and_never_below_one() -> None:
    wanted = speech(2)
    made = wanted.copy()
    made[:, AT] *= np.linspace(0.01, 3.0, SPECTRUM, dtype=np.float32)
    match = VoiceMatch.of(made, wanted)
    assert match is not None
    assert match.gain.min() == 1.0
    assert match.gain.max() < MOST


def test_too_little_voice_measures_nothing() -> None:
    wanted = speech(3)
    wanted[FEWEST - 1 :, 1] = 0.0
    assert VoiceMatch.of(wanted, wanted) is None


def test_it_comes_back_from_its_array() -> None:
    wanted = speech(4)
    made = wanted.copy()
    made[:, AT] *= 0.7
    match = VoiceMatch.of(made, wanted)
    assert match is not None
    again = VoiceMatch.from_array(match.to_array())
    assert again.apply(made) == pytest.approx(match.apply(made))
