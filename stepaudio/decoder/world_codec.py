"""From WORLD's coded frames back to spectra, without pyworld: what a machine that only speaks needs.

Source: M. Morise et al., "Low-dimensional representation of spectral envelope without deterioration for
full-band speech analysis/synthesis system" (2017): the envelope is a cosine series on a mel axis, the
aperiodicity is piecewise linear in dB. Equals pyworld's decoders to rounding.
"""

from dataclasses import dataclass

import numpy as np

from stepaudio.decoder.world import APERIODICITY, FFT, RATE, SPECTRUM

BINS = FFT // 2 + 1
_MEL_POINTS = FFT // 2
_MEL_FLOOR = 40.0  # Hz
_BAND = 3_000.0  # Hz between the aperiodicity's bands
_LOWEST = -60.0  # dB of aperiodicity at 0 Hz
_NOISE_ONLY = -0.5  # dB: a frame whose mean lies above this has no periodic part
_LOG_POWER = 60.0  # keeps exp finite for frames no speech has; about 260 dB


@dataclass(frozen=True, eq=False)
class WorldCodec:
    """The tables that decode frames; make one with `build` and share it.

    Attributes:
        envelope: (40, 513) coded spectrum to natural-log power.
        bands: (4, 513) weights of the three coded bands and of the fixed value at 0 Hz, in dB.
    """

    envelope: np.ndarray
    bands: np.ndarray

    @classmethod
    def build(cls) -> "WorldCodec":
        """Compute the tables; a few milliseconds."""
        frequency = np.arange(BINS) * RATE / FFT
        low, high = _mel(_MEL_FLOOR), _mel(RATE / 2)
        points = 700.0 * (
            np.exp((low + (high - low) * np.arange(_MEL_POINTS) / _MEL_POINTS) / 1127.01048) - 1
        )
        order = np.arange(SPECTRUM)[:, None]
        cosines = np.cos(np.pi * order * (np.arange(_MEL_POINTS) + 0.5) / _MEL_POINTS)
        cosines[1:] *= np.sqrt(2)
        envelope = np.stack([np.interp(frequency, points, row) for row in cosines])
        knots = np.array([*(np.arange(1, APERIODICITY + 1) * _BAND), 0.0, RATE / 2])
        order_of = np.argsort(knots)
        # The knot at half the rate is 0 dB and needs no row.
        bands = np.stack(
            [
                np.interp(frequency, knots[order_of], np.eye(len(knots))[knot][order_of])
                for knot in range(APERIODICITY + 1)
            ]
        )
        return cls(envelope, bands)

    def power(self, spectrum: np.ndarray) -> np.ndarray:
        """(T, 40) coded spectrum to the (T, 513) power envelope, float64, positive and finite."""
        # Row by row, because the sums of a matrix product round differently for other numbers of rows.
        logs = (spectrum.astype(np.float64)[:, None, :] @ self.envelope)[:, 0]
        power: np.ndarray = np.exp(np.clip(logs, -_LOG_POWER, _LOG_POWER))
        return power

    def aperiodicity(self, coded: np.ndarray) -> np.ndarray:
        """(T, 3) coded aperiodicity in dB to the (T, 513) noise share of the amplitude, float64, 0 to 1."""
        coded = np.minimum(coded.astype(np.float64), 0.0)
        decibels = (coded[:, None, :] @ self.bands[:APERIODICITY])[:, 0] + _LOWEST * self.bands[APERIODICITY]
        decibels[coded.mean(1) > _NOISE_ONLY] = 0.0
        share: np.ndarray = 10.0 ** (decibels / 20)
        return share


def _mel(frequency: float) -> float:
    return float(1127.01048 * np.log(frequency / 700.0 + 1))
