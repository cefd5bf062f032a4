"""Level and silence, as Step-Audio prepares sound for its tokenizers."""

import numpy as np

PEAK = 0.999
"""Level of the loudest sample after normalisation."""
QUIETEST_PEAK = 0.01
"""Peaks below this are taken as this, so that near-silence is not blown up."""
TRIM_DB = 20.0
"""Frames this far below the loudest frame count as silence."""
TRIM_FRAME, TRIM_HOP = 512, 128
"""Analysis frame and hop of the silence search, in samples at 16 kHz."""
KEEP_LEFT_S, KEEP_RIGHT_S = 0.05, 0.22
"""Silence kept before and after the sound, in seconds."""
LENGTH_UNIT = 240
"""The sound's length is rounded up to a multiple of this many samples."""


def peak_normalise(samples: np.ndarray) -> np.ndarray:
    """Scale so that the loudest sample is at 0.999; peaks under 0.01 are scaled as if they were 0.01.

    Args:
        samples: (n,), float32.

    Returns:
        (n,), float32, within -0.999..0.999.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    return (samples / np.float32(max(peak, QUIETEST_PEAK)) * np.float32(PEAK)).astype(np.float32)


def sound_span(samples: np.ndarray) -> tuple[int, int]:
    """First and one-past-last sample that are not silence (equal to ``librosa.effects.trim``'s index).

    A frame is sound when its RMS is less than 20 dB below that of the loudest frame.

    Args:
        samples: (n,), float32.

    Returns:
        (start, stop) in samples; (0, 0) for no samples.
    """
    if not samples.size:
        return 0, 0
    padded = np.pad(samples, TRIM_FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, TRIM_FRAME)[::TRIM_HOP]
    power = np.maximum(np.mean(np.square(frames), axis=1), 1e-10)  # the floor is -100 dB of full scale
    loud = np.flatnonzero(10 * np.log10(power) > 10 * np.log10(power.max()) - TRIM_DB)
    return int(loud[0]) * TRIM_HOP, min(samples.size, (int(loud[-1]) + 1) * TRIM_HOP)


def trim_silence(samples: np.ndarray, sample_rate: int = 16000) -> np.ndarray:
    """Cut silence off both ends with the official lengths (used for voice prompts, not for questions).

    50 ms before and 220 ms after the sound are kept, zeros standing in for what is not there; the sound
    itself is rounded up to a multiple of 240 samples.

    Args:
        samples: (n,), float32.
        sample_rate: in Hz; the official value is 16000.

    Returns:
        (frames * 240 + int(0.27 * sample_rate),), float32.
    """
    start, stop = sound_span(samples)
    left = int(KEEP_LEFT_S * sample_rate)
    frames = -(-(stop - start) // LENGTH_UNIT)
    length = int(frames * LENGTH_UNIT + (KEEP_LEFT_S + KEEP_RIGHT_S) * sample_rate)
    kept = samples[start - left :] if start > left else np.pad(samples, (left - start, 0))
    return np.pad(kept[:length], (0, max(0, length - kept.size))).astype(np.float32)
