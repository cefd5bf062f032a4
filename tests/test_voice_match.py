"""The spread of a voice that decoding loses, put back."""

import numpy as np
import pytest

from stepaudio.decoder.voice_match import FEWEST, MATCH_SHAPE, SHARE, VoiceMatch
from stepaudio.decoder.world import SPECTRUM, WIDTH

AT = slice(2, 2 + SPECTRUM)


def speech(seed: int, frames: int = 2000) -> np.ndarray:
    """Frames whose coefficients hang together, as those of speech do."""
    random = np.random.default_rng(seed)
    world = random.normal(size=(frames, WIDTH))
    mixing = np.eye(SPECTRUM) + 0.3 * random.normal(size=(SPECTRUM, SPECTRUM)) / SPECTRUM**0.5
    world[:, AT] = world[:, AT] @ mixing
    world[:, 1] = 1.0
    return world.astype(np.float32)


def smoothed(wanted: np.ndarray) -> np.ndarray:
    made = wanted.copy()
    made[:, AT] = 0.5 * wanted[:, AT] + 0.4
    return made


def distance(made: np.ndarray, wanted: np.ndarray) -> float:
    """Between the covariances of the spectra, relative."""
    ours, theirs = np.cov(made[:, AT].T), np.cov(wanted[:, AT].T)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def measured(made: np.ndarray, wanted: np.ndarray) -> VoiceMatch:
    match = VoiceMatch.of(made, wanted)
    assert match is not None
    return match


def test_what_was_smoothed_gets_most_of_its_spread_back() -> None:
    wanted = speech(0)
    made = smoothed(wanted)
    corrected = measured(made, wanted).apply(made)
    assert corrected[:, AT].mean(0) == pytest.approx(wanted[:, AT].mean(0), abs=1e-3)
    assert distance(corrected, wanted) < 0.75 * distance(made, wanted)
    # Halved and given back by the share: 0.5 * (1 + SHARE) of what it was.
    spread = np.median(corrected[:, AT].std(0) / wanted[:, AT].std(0))
    assert spread == pytest.approx(0.5 * (1 + SHARE), abs=0.05)


def test_what_needs_no_correction_stays() -> None:
    wanted = speech(1)
    assert measured(wanted, wanted).apply(wanted) == pytest.approx(wanted, abs=1e-3)


def test_frames_without_a_voice_and_other_columns_stay() -> None:
    wanted = speech(2)
    made = smoothed(wanted)
    made[1000:, 1] = 0.0
    corrected = measured(made, wanted).apply(made)
    assert np.array_equal(corrected[1000:], made[1000:])
    assert np.array_equal(corrected[:, :2], made[:, :2])
    assert np.array_equal(corrected[:, AT.stop :], made[:, AT.stop :])


def test_few_frames_make_no_wild_map() -> None:
    wanted = speech(3, frames=FEWEST)
    made = smoothed(wanted)
    corrected = measured(made, wanted).apply(made)
    assert np.abs(corrected[:, AT]).max() < 2 * np.abs(wanted[:, AT]).max()


def test_too_little_voice_measures_nothing() -> None:
    wanted = speech(4)
    wanted[FEWEST - 1 :, 1] = 0.0
    assert VoiceMatch.of(wanted, wanted) is None


def test_it_comes_back_from_its_array() -> None:
    wanted = speech(5)
    made = smoothed(wanted)
    match = measured(made, wanted)
    array = match.to_array()
    assert array.shape == MATCH_SHAPE
    assert VoiceMatch.from_array(array).apply(made) == pytest.approx(match.apply(made))
