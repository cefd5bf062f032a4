"""Turn detection: microphone chunks in, whole utterances out, by Silero's voice activity model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.audio import Audio

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

RATE = 16_000
WINDOW = 512  # samples the model scores at once: 32 ms
CONTEXT = 64  # samples of the window before that it wants to see again


@dataclass(frozen=True)
class TurnConfig:
    """When speech starts and ends.

    Attributes:
        start_probability: a window at or above it is speech.
        stop_probability: below it a window is silence (lower than start, so that it does not flutter).
        start_s: speech needed in a row before a turn starts, in seconds.
        stop_s: silence needed before a turn ends, in seconds.
        pad_s: sound kept before the start and after the end of a turn, in seconds.
        max_s: a turn is closed when it gets this long, in seconds.
    """

    start_probability: float = 0.5
    stop_probability: float = 0.35
    start_s: float = 0.1
    stop_s: float = 0.7
    pad_s: float = 0.3
    max_s: float = 60.0


@dataclass
class TurnState:
    """One microphone stream; all samples are 16 kHz."""

    h: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 128), np.float32))
    c: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 128), np.float32))
    context: np.ndarray = field(default_factory=lambda: np.zeros(CONTEXT, np.float32))
    pending: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    kept: list[np.ndarray] = field(default_factory=list)
    position: int = 0
    speaking: bool = False
    run: int = 0  # windows in a row that speak for a change of state


@dataclass(frozen=True)
class TurnStarted:
    """The user began to speak `at` seconds into the stream."""

    at: float


@dataclass(frozen=True)
class TurnEnded:
    """The user's whole turn as 16 kHz audio."""

    audio: Audio


class TurnDetector:
    """Finds the turns in a stream of chunks; one `TurnState` per stream, the detector itself holds none."""

    def __init__(self, config: TurnConfig | None = None):
        self.config = config or TurnConfig()
        self._session: InferenceSession | None = None

    def _load(self) -> "InferenceSession":
        if self._session is None:
            from pathlib import Path

            import onnxruntime
            from faster_whisper.utils import get_assets_path

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            # faster-whisper carries the model; its own wrapper scores whole clips only.
            path = Path(get_assets_path()) / "silero_vad_v6.onnx"
            self._session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        return self._session

    def start(self) -> TurnState:
        """Begin a stream."""
        return TurnState()

    def push(self, state: TurnState, chunk: Audio) -> list[TurnStarted | TurnEnded]:
        """Take the next chunk (any length and rate) and return what it brought to light."""
        state.pending = np.concatenate([state.pending, chunk.resample(RATE).samples])
        events: list[TurnStarted | TurnEnded] = []
        while len(state.pending) >= WINDOW:
            window, state.pending = state.pending[:WINDOW], state.pending[WINDOW:]
            events += self._window(state, window)
        return events

    def finish(self, state: TurnState) -> list[TurnStarted | TurnEnded]:
        """End the stream; a turn that is still open ends with it."""
        if not state.speaking:
            return []
        state.kept.append(state.pending)
        return [self._end(state)]

    def probability(self, state: TurnState, window: np.ndarray) -> float:
        """Return how likely `window` (512 samples) is speech, and step the model's state."""
        fed = np.concatenate([state.context, window])[None]
        score, state.h, state.c = self._load().run(None, {"input": fed, "h": state.h, "c": state.c})
        state.context = window[-CONTEXT:]
        return float(np.asarray(score).reshape(-1)[-1])

    def _window(self, state: TurnState, window: np.ndarray) -> list[TurnStarted | TurnEnded]:
        config = self.config
        score = self.probability(state, window)
        state.position += WINDOW
        state.kept.append(window)
        per_second = RATE / WINDOW
        if not state.speaking:
            state.run = state.run + 1 if score >= config.start_probability else 0
            if state.run >= max(1, round(config.start_s * per_second)):
                state.speaking, spoken, state.run = True, state.run, 0
                return [TurnStarted(at=(state.position - spoken * WINDOW) / RATE)]
            # Only what may become the padding before a turn is worth keeping.
            del state.kept[: -(round(config.pad_s * per_second) + state.run + 1)]
            return []
        state.run = state.run + 1 if score < config.stop_probability else 0
        too_long = len(state.kept) >= config.max_s * per_second
        if state.run >= round(config.stop_s * per_second) or too_long:
            return [self._end(state)]
        return []

    def _end(self, state: TurnState) -> TurnEnded:
        spare = state.run - round(self.config.pad_s * RATE / WINDOW)
        kept = state.kept[:-spare] if spare > 0 else state.kept
        state.kept, state.speaking, state.run = [], False, 0
        return TurnEnded(Audio(np.concatenate(kept).astype(np.float32), RATE))


def find_turns(chunks: Iterable[Audio], detector: TurnDetector) -> Iterator[TurnStarted | TurnEnded]:
    """Run `detector` over a whole stream of chunks."""
    state = detector.start()
    for chunk in chunks:
        yield from detector.push(state, chunk)
    yield from detector.finish(state)
