"""Coded spectral envelopes as vectors: coding is linear in the logarithm, so edits are sums and products.

A coded spectrum c (40 values) stands for the power envelope exp(c @ B); B's first row is 1 everywhere, so
that a gain of g dB adds exactly g ln(10) / 10 to c[0]. The mean of the envelope over frequency is the mean
square of the sound.
"""

from functools import cache
from math import log

import numpy as np

from stepaudio.decoder.world import APERIODICITY, FFT, RATE, SPECTRAL, SPECTRUM, WorldFrames, shift_formants

DB = log(10) / 10
"""What 1 dB is in c[0]."""
SILENCE_DB = -100.0


@cache
def basis() -> np.ndarray:
    """(40, 513) float64 B: the log power envelope, in natural units, of each coded value; read-only."""
    import pyworld

    rows: np.ndarray = np.log(pyworld.decode_spectral_envelope(np.eye(SPECTRUM), RATE, FFT))
    rows.flags.writeable = False
    return rows


def encode_log(envelope_db: np.ndarray) -> np.ndarray:
    """(513,) an envelope or a filter in dB to its (40,) coded values."""
    import pyworld

    power = np.ascontiguousarray(np.exp(np.asarray(envelope_db, float) * DB))[None]
    coded: np.ndarray = pyworld.code_spectral_envelope(power, RATE, SPECTRUM)[0]
    return coded


def frequencies() -> np.ndarray:
    """(513,) Hz of the envelope's bins."""
    return np.arange(FFT // 2 + 1) * (RATE / FFT)


def tilt(db_an_octave: float, low: float = 250.0, high: float = 8000.0) -> np.ndarray:
    """(40,) coded filter that tilts a spectrum about 1 kHz, flat below `low` and above `high` Hz."""
    return encode_log(db_an_octave * np.log2(np.clip(frequencies(), low, high) / 1000.0))


def formant_shift(ratio: float) -> np.ndarray:
    """(40, 40) M so that spectrum @ M has its formants shifted by `ratio`, as `shift_formants` does it."""
    eye = np.eye(SPECTRUM, dtype=np.float32)
    nothing = np.zeros((SPECTRUM, APERIODICITY), np.float32)
    return shift_formants(WorldFrames(np.zeros(SPECTRUM, np.float32), eye, nothing), ratio).spectrum.astype(
        float
    )


def frame_level(spectrum: np.ndarray) -> float:
    """Level of one frame in dB of full scale, from its coded spectrum (40,)."""
    envelope = np.exp(spectrum @ basis())
    # Both ends of a one-sided spectrum count half.
    power = (envelope.sum() - (envelope[0] + envelope[-1]) / 2) / (FFT // 2)
    return max(SILENCE_DB, float(np.log(max(power, 1e-30)) / DB))


def speech_level(frames: np.ndarray) -> float:
    """Level of the voiced frames of (T, 45) WORLD frames in dB of full scale; of all where none is voiced."""
    voiced = frames[frames[:, 1] > 0.5]
    voiced = voiced if len(voiced) else frames
    power = [10 ** (frame_level(row) / 10) for row in voiced[:, SPECTRAL].astype(float)]
    return float(10 * np.log10(np.mean(power)))
