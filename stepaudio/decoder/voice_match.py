"""What decoding loses of a voice, measured once and put back: mean and spread of its voiced frames.

A decoder that is trained to expect frames gives smooth ones, so that every voice moves towards the mean of
all. Source of the remedy: T. Toda and K. Tokuda, "A speech parameter generation algorithm considering global
variance for HMM-based speech synthesis" (2007).
"""

from dataclasses import dataclass

import numpy as np

from stepaudio.decoder.world import SPECTRUM

MOST = 2.0
"""Largest factor on a spread: beyond it, it is noise that would be made louder."""
SHARE = 0.7
"""How much of what is missing is put back, as an exponent; all of it sounds sharp."""
FEWEST = 50
"""Voiced frames from which a match can be measured."""


@dataclass(frozen=True, eq=False)
class VoiceMatch:
    """A correction of the spectrum of decoded voiced frames.

    Attributes:
        middle: (40,) float32 mean of decoded frames.
        shift: (40,) float32 what their mean lacks.
        gain: (40,) float32 factor on the distance from the mean, 1 to `MOST`.
    """

    middle: np.ndarray
    shift: np.ndarray
    gain: np.ndarray

    @classmethod
    def of(cls, made: np.ndarray, wanted: np.ndarray) -> "VoiceMatch | None":
        """Measure on decoded and recorded frames (T, 45) of one stretch, on one scale; None if too few."""
        both = (made[:, 1] > 0.5) & (wanted[:, 1] > 0.5)
        if both.sum() < FEWEST:
            return None
        at = slice(2, 2 + SPECTRUM)
        middle = made[both, at].mean(0)
        ratio = wanted[both, at].std(0) / np.maximum(made[both, at].std(0), 1e-3)
        return cls(
            middle.astype(np.float32),
            (wanted[both, at].mean(0) - middle).astype(np.float32),
            (np.clip(ratio, 1.0, MOST) ** SHARE).astype(np.float32),
        )

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """Return frames (T, 45) corrected as far as they are voiced."""
        at = slice(2, 2 + SPECTRUM)
        rest = (frames[:, at] - self.middle) * (self.gain - 1) + self.shift
        corrected = frames.copy()
        corrected[:, at] += np.clip(frames[:, 1:2], 0.0, 1.0) * rest
        return corrected

    def to_array(self) -> np.ndarray:
        """Return (3, 40) float32, as voice files hold it."""
        return np.stack([self.middle, self.shift, self.gain])

    @classmethod
    def from_array(cls, array: np.ndarray) -> "VoiceMatch":
        """Read what `to_array` gave."""
        return cls(*array.astype(np.float32))
