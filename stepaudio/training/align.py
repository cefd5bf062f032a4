"""Phonemes in time: the teacher's graph tells its own, a classifier and the words tell people's.

The first half of the teacher's graph gives durations in frames of 600 samples and the pitch at 80 Hz
(`engine.teacher`). The recorded clips were cut at both ends; their own pitch tells where they begin.

What people say is laid along a classifier's probabilities on the most likely way (forced alignment by the
Viterbi algorithm: L. Rabiner, "A tutorial on hidden Markov models", 1989, section III-B).
"""

from dataclasses import dataclass

import numpy as np

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


def align_tokens(
    scores: np.ndarray, tokens: np.ndarray, silent: np.ndarray, optional: np.ndarray
) -> np.ndarray:
    """Lay tokens along the frames of a recording, in their order, on the most likely way.

    Args:
        scores: (T, K) log-probabilities of the K tokens in each frame.
        tokens: (N,) what is said.
        silent: (K,) which tokens stand for a pause; any of them may be heard where one of them is said, and
            several in a row are one pause.
        optional: (K,) which tokens need not take any time, as marks of stress; pauses need not either.

    Returns:
        (T,) int64 the token of each frame; empty if the frames are too few for what must be said.
    """
    pause = silent[tokens]
    tokens = tokens[~(pause & np.concatenate(([False], pause[:-1])))]
    pause, free = silent[tokens], (silent | optional)[tokens]
    heard = scores[:, tokens].astype(np.float64)
    loudest = np.where(silent, scores, -np.inf).argmax(1)
    heard[:, pause] = scores[np.arange(len(scores)), loudest][:, None]
    # A token is reached from itself, from the one before, or over any that may be left out.
    spared = np.zeros(len(tokens), np.int64)  # how many of those lie right before it
    for place in range(1, len(tokens)):
        spared[place] = spared[place - 1] + 1 if free[place - 1] else 0
    first = spared == np.arange(len(tokens))
    last = np.array([free[place + 1 :].all() for place in range(len(tokens))])
    best = np.where(first, heard[0], -np.inf)
    steps = np.zeros((len(scores), len(tokens)), np.int64)
    for at in range(1, len(scores)):
        ways = np.full((int(spared.max()) + 2, len(tokens)), -np.inf)
        ways[0] = best
        for step in range(1, min(len(ways), len(tokens))):
            ways[step, step:] = np.where(spared[step:] >= step - 1, best[:-step], -np.inf)
        steps[at] = ways.argmax(0)
        best = ways.max(0) + heard[at]
    best = np.where(last, best, -np.inf)
    place = int(best.argmax())
    if best[place] == -np.inf:
        return np.zeros(0, np.int64)
    path = np.zeros(len(scores), np.int64)
    for at in range(len(scores) - 1, -1, -1):
        path[at] = place
        place -= int(steps[at, place])
    return np.where(pause[path], loudest, tokens[path])
