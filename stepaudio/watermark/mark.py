"""Marks speech at any rate, whole or as it is made, and tells whether a sound is marked."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from stepaudio.audio import Audio
from stepaudio.errors import ModelError
from stepaudio.watermark.network import N_FFT, RATE, REACH_S, PerthNet

CARD = "watermark-perth"
MARKED = 0.5
"""Score from which a stretch counts as marked."""
WINDOW_S = 5.0  # a long sound is judged by its most surely marked stretch: a part of it may be machine-made
BLOCK_S = 0.4  # least sound worth a run of the network while it streams
SHORTEST = N_FFT  # samples at 32 kHz; shorter clips are padded


@dataclass
class MarkState:
    """One stream being marked.

    Attributes:
        past: sound already given out that the mark of the next depends on.
        pending: sound not yet given out.
        rate: Hz; 0 before the first chunk.
    """

    past: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    pending: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    rate: int = 0


@dataclass(frozen=True)
class Detection:
    """Whether a sound carries the mark.

    Attributes:
        marked: whether any stretch does.
        score: of the most surely marked stretch, 0 to 1.
        share: share of the stretches of five seconds that are marked.
    """

    marked: bool
    score: float
    share: float


class Watermark:
    """Adds the mark and finds it; weights are read at first use.

    Args:
        folder: of the card ``watermark-perth``.
    """

    name = "perth"

    def __init__(self, folder: Path):
        self.folder = folder
        self._network: PerthNet | None = None

    def load(self) -> PerthNet:
        """Read the weights, which otherwise happens at first use."""
        if self._network is None:
            self._network = PerthNet.load(self.folder)
        return self._network

    def mark(self, audio: Audio) -> Audio:
        """Return the marked clip, of the same length and rate; an empty clip stays empty."""
        return Audio(audio.samples + self._residual(audio.samples, audio.sample_rate), audio.sample_rate)

    def start(self) -> MarkState:
        """Begin a stream."""
        return MarkState()

    def push(self, state: MarkState, chunk: Audio) -> Iterator[Audio]:
        """Take a chunk and yield what is ready; a quarter of a second is held back.

        All chunks of a stream have one rate. The stream equals `mark` of the whole (within 1e-6 where there
        is no digital silence).
        """
        state.rate = chunk.sample_rate
        state.pending = np.concatenate([state.pending, chunk.samples])
        unit, reach = _grid(state.rate)
        ready = (state.pending.size - reach) // unit * unit
        if ready < BLOCK_S * state.rate:
            return
        yield self._give(state, ready)

    def finish(self, state: MarkState) -> Iterator[Audio]:
        """Yield the rest."""
        if state.pending.size:
            yield self._give(state, state.pending.size)

    def run(self, chunks: Iterable[Audio]) -> Iterator[Audio]:
        """Mark a stream of chunks."""
        state = self.start()
        for chunk in chunks:
            yield from self.push(state, chunk)
        yield from self.finish(state)

    def detect(self, audio: Audio) -> Detection:
        """Tell whether a clip of any length and rate is marked; silence is not."""
        samples = audio.resample(RATE).samples
        size = int(WINDOW_S * RATE)
        # The last stretch takes what is left over, so that none is too short to judge.
        count = max(1, len(samples) // size)
        pieces = [samples[at * size : (at + 1) * size if at < count - 1 else None] for at in range(count)]
        scores = [self._score(piece) for piece in pieces]
        return Detection(
            max(scores) >= MARKED, max(scores), sum(score >= MARKED for score in scores) / len(scores)
        )

    def _score(self, samples: np.ndarray) -> float:
        padded = np.pad(samples, (0, max(0, SHORTEST - len(samples))))
        return self.load().score(torch.from_numpy(np.ascontiguousarray(padded)))

    def _give(self, state: MarkState, count: int) -> Audio:
        before = state.past.size
        residual = self._residual(np.concatenate([state.past, state.pending]), state.rate)
        given = state.pending[:count]
        marked = given + residual[before : before + count]
        state.past = np.concatenate([state.past, given])[-_grid(state.rate)[1] :]
        state.pending = state.pending[count:]
        return Audio(marked, state.rate)

    def _residual(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Only the mark goes through the resampler: the speech itself is not touched."""
        if not samples.size:
            return samples
        wide = Audio(samples, rate).resample(RATE).samples
        padded = np.pad(wide, (0, max(0, SHORTEST - len(wide))))
        mark = self.load().residual(torch.from_numpy(padded)).numpy()[: len(wide)]
        narrow = Audio(mark, RATE).resample(rate).samples[: len(samples)]
        return np.pad(narrow, (0, len(samples) - len(narrow)))


def load_watermark(*, pull: bool = True) -> Watermark:
    """Return the watermark of the card.

    Args:
        pull: whether the network may be used where its weights are not here.

    Raises:
        ModelError: the weights cannot be had.
    """
    from stepaudio import hub

    try:
        return Watermark(hub.ensure(CARD, pull=pull)[CARD])
    except ModelError as error:
        how = "watermark=False (--no-watermark) speaks without it"
        raise ModelError(f"the watermark's weights are missing: {error}; {how}") from error


def _grid(rate: int) -> tuple[int, int]:
    """Return the samples after which the network's frames fall on samples again, and how far it reaches."""
    unit = rate // math.gcd(rate, 100)
    return unit, -(-int(REACH_S * rate) // unit) * unit
