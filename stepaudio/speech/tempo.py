"""Faster or slower speech at the same pitch: overlap-add of similar waveforms (Verhelst, Roelands 1993)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from stepaudio.audio import Audio

FRAME_S = 0.04  # a few pitch periods
SEARCH_S = 0.01  # how far a frame may be moved to fit what was put out before it


@dataclass
class TempoState:
    """One sound being stretched; make one with `start`.

    Attributes:
        speed: factor on the speaking rate.
        half: half a frame, in samples; frames follow each other at this distance.
        search: samples that a frame may be moved by.
        sound: input from sample `begin` on.
        begin: samples of input already forgotten.
        frames: frames put out.
        last: input position of the last frame.
        tail: second half of the last frame, which the next one is added to.
    """

    speed: float
    half: int
    search: int
    sound: np.ndarray
    begin: int = 0
    frames: int = 0
    last: int = 0
    tail: np.ndarray | None = None


def start(speed: float, sample_rate: int) -> TempoState:
    """Begin a sound; `speed` 2 is twice as fast."""
    half = int(FRAME_S * sample_rate / 2)
    return TempoState(speed, half, int(SEARCH_S * sample_rate), np.zeros(0, np.float32))


def push(state: TempoState, samples: np.ndarray) -> np.ndarray:
    """Take float32 samples (n,) and return those of the result that are ready, maybe none."""
    state.sound = np.concatenate([state.sound, samples])
    return _frames(state, state.begin + state.sound.size)


def finish(state: TempoState) -> np.ndarray:
    """Return the rest."""
    length = state.begin + state.sound.size
    wanted = round(length / state.speed) - state.frames * state.half
    if length == 0 or wanted <= 0:
        return np.zeros(0, np.float32)
    state.sound = np.concatenate([state.sound, np.zeros(4 * state.half + 2 * state.search, np.float32)])
    parts = [_frames(state, length + 4 * state.half + 2 * state.search)]
    if state.tail is not None:
        parts.append(state.tail)
    return np.concatenate(parts)[:wanted]


class Pacer:
    """`push` and `finish` for chunks of `Audio`; speed 1 leaves them as they are.

    Args:
        speed: factor on the speaking rate.
    """

    def __init__(self, speed: float):
        self.speed = speed
        self._state: TempoState | None = None
        self._rate = 0

    def push(self, chunk: Audio) -> Iterator[Audio]:
        """Yield the sound that is ready, maybe none; all chunks have one rate."""
        if abs(self.speed - 1.0) < 1e-3:
            yield chunk
            return
        self._rate = chunk.sample_rate
        self._state = self._state or start(self.speed, self._rate)
        samples = push(self._state, chunk.samples)
        if samples.size:
            yield Audio(samples, self._rate)

    def finish(self) -> Iterator[Audio]:
        """Yield the rest."""
        if self._state is not None and (rest := finish(self._state)).size:
            yield Audio(rest, self._rate)


def change_pace(chunks: Iterable[Audio], speed: float) -> Iterator[Audio]:
    """Yield `chunks`, which follow each other, at `speed` times their pace."""
    pacer = Pacer(speed)
    for chunk in chunks:
        yield from pacer.push(chunk)
    yield from pacer.finish()


def _frames(state: TempoState, available: int) -> np.ndarray:
    """Put out every frame whose input, search range included, lies before `available`."""
    half, out = state.half, []
    window = np.hanning(2 * half + 1)[:-1].astype(np.float32)
    while True:
        wanted = round(state.frames * half * state.speed)
        if max(wanted + state.search, state.last + half) + 2 * half > available:
            break
        place = wanted if state.tail is None else _best(state, wanted)
        frame = state.sound[place - state.begin :][: 2 * half] * window
        if state.tail is None:
            frame[:half] = state.sound[place - state.begin :][:half]  # nothing to fade in from
        else:
            frame[:half] += state.tail
        out.append(frame[:half].copy())
        state.tail, state.last = frame[half:].copy(), place
        state.frames += 1
        _forget(state)
    return np.concatenate(out) if out else np.zeros(0, np.float32)


def _best(state: TempoState, wanted: int) -> int:
    """Return where the input goes on most like the frame before, within the search range around `wanted`."""
    size = 2 * state.half
    low = max(state.begin, wanted - state.search)
    region = state.sound[low - state.begin : wanted + state.search + size - state.begin]
    natural = state.sound[state.last + state.half - state.begin :][:size]
    fit = np.correlate(region, natural, "valid")
    energy = np.convolve(region**2, np.ones(size, np.float32), "valid")
    return low + int(np.argmax(fit / np.sqrt(energy + 1e-9)))


def _forget(state: TempoState) -> None:
    upcoming = round(state.frames * state.half * state.speed) - state.search
    drop = min(upcoming, state.last) - state.begin
    if drop > 0:
        state.sound, state.begin = state.sound[drop:], state.begin + drop
