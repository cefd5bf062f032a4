"""Phonemes in time, from the teacher itself: its graph tells the duration of every token it says.

Two inner tensors of Kokoro's ONNX graph are made outputs: the durations in frames of 600 samples, and the
pitch at 80 Hz. The recorded clips were cut at both ends; their own pitch tells where they begin.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepaudio.errors import ModelError

DURATIONS = "/encoder/Clip_output_0"
PITCH = "/encoder/F0_proj/Conv_output_0"
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
    """The first half of the teacher, which is a fraction of its cost.

    Args:
        graph: Kokoro's ``model.onnx``.
        half: where the half is kept; made if it is not there.
    """

    def __init__(self, graph: Path, half: Path, threads: int = 1) -> None:
        import onnxruntime

        if not half.exists():
            cut_graph(graph, half)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session: Any = onnxruntime.InferenceSession(
            str(half), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, ids: list[int], style: np.ndarray, speed: float) -> Said:
        """Time token ids (without the ends) in the style of a row (256,) at a speed."""
        feeds = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": style.astype(np.float32).reshape(1, -1),
            "speed": np.array([speed], np.float32),
        }
        durations, pitch = self._session.run(None, feeds)
        return Said(np.rint(durations).astype(np.int64).reshape(-1), np.asarray(pitch).reshape(-1))


def cut_graph(graph: Path, half: Path) -> None:
    """Write the part of the teacher's graph that leads to durations and pitch.

    Raises:
        ModelError: the package onnx is missing, or the graph has no such tensors.
    """
    try:
        import onnx.utils
    except ImportError as error:
        raise ModelError("cutting a graph needs the package onnx") from error
    try:
        onnx.utils.extract_model(
            str(graph), str(half), ["tokens", "style", "speed"], [DURATIONS, PITCH], check_model=False
        )
    except (ValueError, KeyError, OSError) as error:
        raise ModelError(f"{graph}: not the teacher's graph ({error})") from None


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
