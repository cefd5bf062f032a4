"""Phonemes in time, from the teacher itself: its graph tells the duration of every token it says.

The first half of its graph gives durations in frames of 600 samples and the pitch at 80 Hz
(`engine.teacher`). The recorded clips were cut at both ends; their own pitch tells where they begin.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepaudio.training.engine.teacher import FirstHalf

TICKS = 40
"""Duration units a second."""
PITCH_RATE = 80
FRAME_RATE = 100
WORST = 0.08
"""Mean error of log-F0 above which a clip counts as not aligned."""


@dataclass(frozen=True, eq=False)
class Said:
    """What the teacher would say.

    Attributes:
        durations: (N,) int64 ticks of 25 ms, a value for each token, the ends included.
        pitch: (2 ticks,) float32 Hz.
    """

    durations: np.ndarray
    pitch: np.ndarray


class TeacherTiming:
    """The first half of the teacher, of which the timing is kept.

    Args:
        graph: Kokoro's ``model.onnx``.
        threads: of one run.
    """

    def __init__(self, graph: Path, threads: int = 1) -> None:
        self._half = FirstHalf(graph, threads)

    def __call__(self, ids: list[int], style: np.ndarray, speed: float) -> Said:
        """Time token ids (without the ends) in the style of a row (256,) at a speed."""
        intent = self._half(ids, style, speed)
        return Said(intent.durations, intent.pitch)


def find_offset(said: Said, world: np.ndarray) -> tuple[int, float]:
    """Where a clip begins in what was said.

    Args:
        said: by the teacher.
        world: (T, 45) frames of the clip, which lacks silence at its ends.

    Returns:
        Frames (100 Hz) before the clip, and the mean error of log-F0 over its voiced frames; the clip is
        aligned if that is below `WORST`.
    """
    length, count = int(said.durations.sum()) * FRAME_RATE // TICKS, len(world)
    at = np.minimum(np.arange(length) * PITCH_RATE // FRAME_RATE, len(said.pitch) - 1)
    there = said.pitch[at] > 40
    pitch = np.log(np.maximum(said.pitch[at], 40))
    voiced = world[:, 1] > 0.5
    best, result = -np.inf, (0, 1.0)
    for offset in range(-5, max(1, length - count + 15)):
        index = np.arange(count) + offset
        inside = (index >= 0) & (index < length)
        index = np.clip(index, 0, length - 1)
        known = there[index] & inside
        both = known & voiced
        error = float(np.abs(pitch[index][both] - world[both, 0]).mean()) if both.sum() > 5 else 1.0
        score = float(np.mean(known == voiced)) - 2 * min(error, 0.3)
        if score > best:
            best, result = score, (offset, error)
    return result


def tokens_of_frames(durations: np.ndarray, offset: int, frames: int) -> np.ndarray:
    """Index of the token of each of `frames` WORLD frames of a clip, (frames,) int64."""
    tokens = np.repeat(np.arange(len(durations)), durations)
    at = (np.arange(frames) + offset) * TICKS // FRAME_RATE
    return tokens[np.clip(at, 0, len(tokens) - 1)]
