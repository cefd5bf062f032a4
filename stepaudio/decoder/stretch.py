"""WORLD frames in new time: every phoneme of a stream gets the length that it should have.

The beginning and the end of a lengthened phoneme pass at their own pace, its middle is held: movements of
the mouth stay as fast as they are. The stream equals the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stepaudio.decoder.world import FRAME_RATE, WIDTH

EDGE = 0.04
"""Seconds at each end of a lengthened phoneme that keep their pace, at most a third of it."""


@dataclass
class StretchState:
    """One utterance in new time; make one with `start`.

    Attributes:
        source: (F,) position among the old frames that each new frame is read at.
        phoneme: (F,) index of the phoneme of each new frame.
        frames: old frames from `begin` on.
        begin: old frames already forgotten.
        done: new frames given out.
    """

    source: np.ndarray
    phoneme: np.ndarray
    frames: np.ndarray = field(default_factory=lambda: np.zeros((0, WIDTH), np.float32))
    begin: int = 0
    done: int = 0


def start(old: Sequence[float] | np.ndarray, new: Sequence[float] | np.ndarray) -> StretchState:
    """Begin an utterance.

    Args:
        old: (N,) seconds of each phoneme in the frames that will come.
        new: (N,) seconds that each should have.
    """
    old_times, new_times = [0.0], [0.0]
    for before, after in zip(np.asarray(old, float), np.asarray(new, float), strict=True):
        edge = min(EDGE, before / 3)
        inner = [edge, before - edge] if after > before > 0 else []
        outer = [edge, after - edge] if inner else []
        at_old, at_new = old_times[-1], new_times[-1]
        old_times += [at_old + part for part in (*inner, before)]
        new_times += [at_new + part for part in (*outer, after)]
    count = round(new_times[-1] * FRAME_RATE)
    times = (np.arange(count) + 0.5) / FRAME_RATE
    source = np.interp(times, new_times, old_times) * FRAME_RATE - 0.5
    last = max(len(old) - 1, 0)
    phoneme = np.minimum(np.searchsorted(np.cumsum(new), times, side="right"), last)
    return StretchState(np.maximum(source, 0.0), phoneme)


def push(state: StretchState, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take old frames (T, 45) and return the new ones that are ready, (n, 45), and their phonemes, (n,)."""
    state.frames = np.concatenate([state.frames, frames])
    available = state.begin + len(state.frames)
    ready = int(np.searchsorted(state.source, available - 1, side="right"))
    return _read(state, max(ready, state.done))


def finish(state: StretchState) -> tuple[np.ndarray, np.ndarray]:
    """Return the rest; where old frames are missing the last one stands for them."""
    if not len(state.frames):
        return np.zeros((0, WIDTH), np.float32), state.phoneme[:0]
    return _read(state, len(state.source))


def _read(state: StretchState, stop: int) -> tuple[np.ndarray, np.ndarray]:
    at = state.source[state.done : stop] - state.begin
    phoneme = state.phoneme[state.done : stop]
    if not len(at):
        return np.zeros((0, WIDTH), np.float32), phoneme
    end = len(state.frames) - 1
    low = np.minimum(np.floor(at).astype(int), end)
    high = np.minimum(low + 1, end)
    part = (at - np.floor(at)).astype(np.float32)[:, None]
    made = state.frames[low] * (1 - part) + state.frames[high] * part
    made[:, 1] = state.frames[np.minimum(np.rint(at).astype(int), end), 1]  # voiced or not, nothing between
    state.done = stop
    # The next new frame is read at or behind this one.
    keep = int(low[-1])
    state.frames, state.begin = state.frames[keep:], state.begin + keep
    return made, phoneme
