"""Cutting long sound into windows the S3 networks can take, and joining the codes: pure functions."""

from collections.abc import Sequence

FRAMES_PER_SECOND = 100
WINDOW_S, OVERLAP_S = 30, 4
_WINDOW, _STRIDE = WINDOW_S * FRAMES_PER_SECOND, (WINDOW_S - OVERLAP_S) * FRAMES_PER_SECOND


def overlapping(frames: int, *, compat: bool = False) -> list[tuple[int, int]]:
    """Start and stop of the 30 s windows, 26 s apart, that cover ``frames`` mel frames.

    The s3tokenizer package starts one more window even when the last one already reached the end; joining
    then cuts two seconds off a window that has no successor worth the name, and up to 50 codes (2 s) are
    lost whenever the duration lies between 26 k and 26 k + 4 s, k >= 2. By default that window is
    not started and nothing is lost; ``compat`` copies the package.
    """
    if frames <= _WINDOW:
        return [(0, frames)]
    overlap = _WINDOW - _STRIDE
    starts = range(0, frames, _STRIDE)
    if not compat:
        starts = range(0, frames - overlap + 1, _STRIDE)
    return [(start, min(start + _WINDOW, frames)) for start in starts]


def join(segments: Sequence[Sequence[int]], rate: int = 25) -> list[int]:
    """Join the codes of overlapping windows, leaving out half the overlap on each side of a joint."""
    half = OVERLAP_S // 2 * rate
    joined: list[int] = []
    for index, segment in enumerate(segments):
        first = half if index else 0
        last = len(segment) if index == len(segments) - 1 else len(segment) - half
        joined.extend(segment[first : max(first, last)])
    return joined


def consecutive(samples: int, window: int, shortest: int) -> list[tuple[int, int]]:
    """Start and stop of pieces of ``window`` samples side by side; none shorter than ``shortest``."""
    pieces = [(start, min(start + window, samples)) for start in range(0, samples, window)]
    return [(start, stop) for start, stop in pieces if stop - start >= shortest]
