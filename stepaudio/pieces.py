"""Step-Audio 2's 25 s pieces: how sound is cut for the encoder, and how many prompt positions it takes."""

import numpy as np

from stepaudio.errors import AudioError

ENCODER_RATE = 16_000
PIECE_SAMPLES = 400_000  # 25 s
TAIL_PADDING = 479  # zeros put after each piece, in samples
HOP = 160


def split_pieces(samples: np.ndarray, piece: int = PIECE_SAMPLES) -> list[np.ndarray]:
    """Cut mono samples at 16 kHz into consecutive pieces without overlap; the last one may be short.

    Raises:
        AudioError: no samples, or not one-dimensional.
    """
    if samples.ndim != 1 or samples.size == 0:
        raise AudioError(f"the encoder needs mono samples, got shape {samples.shape}")
    return [samples[start : start + piece] for start in range(0, samples.size, piece)]


def mel_frames(samples: int) -> int:
    """Return the number of log-mel frames of a piece of `samples` samples, tail padding included."""
    return (samples + TAIL_PADDING) // HOP


def valid_frames(samples: int) -> int:
    """Return the length the encoder is told: two frames less than there are (the reference's rule)."""
    return mel_frames(samples) - 2


def encoder_length(frames: int, *, pool: bool = True) -> int:
    """Return the encoder's valid frames for `frames` valid mel frames: halved, and again by pooling."""
    halved = (frames + 1) // 2
    return halved // 2 if pool else halved


def adaptor_length(frames: int, *, kernel: int = 3, stride: int = 2) -> int:
    """Return the adaptor's valid output frames for `frames` encoder frames (padding ``kernel // 2``)."""
    return (frames + 2 * (kernel // 2) - kernel) // stride + 1


def placeholder_count(samples: int) -> int:
    """Return how many ``<audio_patch>`` one piece takes: 12.5 a second, 0 when shorter than 25 ms.

    This is the rule of the released client, on two frames less than the mel has; the serving fork counts on
    all frames and differs by one for a quarter of the lengths.
    """
    return adaptor_length(encoder_length(valid_frames(samples)))
