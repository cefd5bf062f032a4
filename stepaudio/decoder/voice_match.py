"""What decoding loses of a voice, measured once and put back: how its spectrum is spread.

A decoder that is trained to expect frames gives smooth ones, so that every voice moves towards the mean of
all (T. Toda and K. Tokuda, "A speech parameter generation algorithm considering global variance for HMM-based
speech synthesis", 2007). Here the whole covariance is mended: by the linear map that takes one normal
distribution to another with the least movement (F. Pitie and A. Kokaram, "The linear Monge-Kantorovitch
linear colour mapping for example-based colour transfer", 2007).
"""

from dataclasses import dataclass

import numpy as np

from stepaudio.decoder.world import SPECTRAL, SPECTRUM

SHARE = 0.4
"""How much of the map is used; all of it sounds sharp, and costs intelligibility."""
RIDGE = 0.1
"""Part of the mean variance that is added to every direction: a clip has few frames."""
FEWEST = 50
"""Voiced frames from which a match can be measured."""


@dataclass(frozen=True, eq=False)
class VoiceMatch:
    """A correction of the spectrum of decoded voiced frames.

    Attributes:
        middle: (40,) float32 mean of decoded frames.
        shift: (40,) float32 what their mean lacks.
        matrix: (40, 40) float32 what is done to the distance from the mean.
    """

    middle: np.ndarray
    shift: np.ndarray
    matrix: np.ndarray

    @classmethod
    def of(cls, made: np.ndarray, wanted: np.ndarray) -> "VoiceMatch | None":
        """Measure on decoded and recorded frames (T, 45) of one stretch, on one scale; None if too few."""
        both = (made[:, 1] > 0.5) & (wanted[:, 1] > 0.5)
        if both.sum() < FEWEST:
            return None
        ours, theirs = made[both, SPECTRAL].astype(float), wanted[both, SPECTRAL].astype(float)
        middle = ours.mean(0)
        moved = _map_between(_covariance(ours), _covariance(theirs))
        matrix = np.eye(SPECTRUM) + SHARE * (moved - np.eye(SPECTRUM))
        return cls(
            middle.astype(np.float32),
            (theirs.mean(0) - middle).astype(np.float32),
            matrix.astype(np.float32),
        )

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """Return frames (T, 45) corrected as far as they are voiced."""
        spectrum = frames[:, SPECTRAL]
        rest = (spectrum - self.middle) @ self.matrix.T + self.middle + self.shift - spectrum
        corrected = frames.copy()
        corrected[:, SPECTRAL] += np.clip(frames[:, 1:2], 0.0, 1.0) * rest
        return corrected

    def to_array(self) -> np.ndarray:
        """Return (42, 40) float32, as voice files hold it."""
        return np.concatenate([self.middle[None], self.shift[None], self.matrix])

    @classmethod
    def from_array(cls, array: np.ndarray) -> "VoiceMatch":
        """Read what `to_array` gave."""
        values = array.astype(np.float32)
        return cls(values[0], values[1], values[2:])


MATCH_SHAPE = (2 + SPECTRUM, SPECTRUM)
"""Of `VoiceMatch.to_array`."""


def _covariance(frames: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.cov(frames.T)
    return found + RIDGE * np.trace(found) / SPECTRUM * np.eye(SPECTRUM)


def _map_between(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The symmetric matrix A with A ours A = theirs."""
    root, inverse = _power(ours, 0.5), _power(ours, -0.5)
    mapped: np.ndarray = inverse @ _power(root @ theirs @ root, 0.5) @ inverse
    return mapped


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    raised: np.ndarray = (vectors * np.maximum(values, 1e-9) ** exponent) @ vectors.T
    return raised
