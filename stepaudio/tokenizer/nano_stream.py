"""nano's tokenizer as sound comes in: codes follow it by a look-ahead, at a cost that does not grow.

Whisper's encoder looks both ways over its whole window, so each step encodes the last seconds once more and
keeps the codes of the groups that have enough sound behind them. What a step sees depends on the sound
alone and not on how it was cut into chunks.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from stepaudio.audio import Audio
from stepaudio.codes import GROUP_S, Codes
from stepaudio.decoder.world import WorldFrames
from stepaudio.decoder.world_voice import Scale, WorldVoice
from stepaudio.errors import AudioError, InputError
from stepaudio.tokenizer.nano import WHISPER_PER_GROUP, WORLD_PER_GROUP, NanoTokenizer, group_count

EDGE_S = 0.02
"""Silence behind the last group, for the frames at its end."""


@dataclass(frozen=True)
class Pace:
    """How far apart steps lie and what they see, in groups of 120 ms.

    Attributes:
        first: sound before the first codes: the speaker's pitch and spectrum are taken from it.
        hop: groups coded in one step.
        ahead: sound behind the last group of a step.
        window: sound that the Whisper encoder sees, at most.
        context: sound before a step that WORLD analyses with it.
        remembered: sound that tells where the speaker's voice lies.
    """

    first: int = 13
    hop: int = 4
    ahead: int = 3
    window: int = 80
    context: int = 4
    remembered: int = 250

    def __post_init__(self) -> None:
        """Check that the window holds what a step codes."""
        if self.window < max(self.first, self.hop + self.ahead):
            raise InputError(f"a window of {self.window} groups does not hold a step")


@dataclass(eq=False)
class TokenizerState:
    """What one stream remembers: of one size however long it lasts.

    Attributes:
        rate: of its sound, in Hz.
        samples: how many have come.
        oldest: the group that `sound` begins with.
        sound: the last samples, float32.
        done: groups coded.
        frames: WORLD frames of the last of those groups.
        finished: nothing may follow.
    """

    rate: int
    samples: int = 0
    oldest: int = 0
    sound: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    done: int = 0
    frames: WorldFrames | None = field(default=None, repr=False)
    finished: bool = False

    def sample(self, group: int) -> int:
        """The first sample of a group."""
        return round(group * GROUP_S * self.rate)


@dataclass(frozen=True, eq=False)
class TokenizerStream:
    """Codes of sound as it comes; one object serves any number of streams.

    Attributes:
        tokenizer: the model.
        scale: of WORLD frames.
        encode: sound to features at 50 Hz, (T, width) float32.
        analyse: sound to WORLD frames.
        voice: where the speaker's voice lies; without, what was heard so far tells.
        pace: of the steps.
    """

    tokenizer: NanoTokenizer
    scale: Scale
    encode: Callable[[Audio], np.ndarray]
    analyse: Callable[[Audio], WorldFrames]
    voice: WorldVoice | None = None
    pace: Pace = Pace()

    def run(self, chunks: Iterable[Audio]) -> Iterator[Codes]:
        """Yield the codes of chunks of one rate, as soon as there are some."""
        state: TokenizerState | None = None
        for chunk in chunks:
            state = state or self.start(chunk.sample_rate)
            if chunk.sample_rate != state.rate:
                raise AudioError(f"a stream of {state.rate} Hz cannot go on at {chunk.sample_rate} Hz")
            yield from self.push(state, chunk.samples)
        if state is not None:
            yield from self.finish(state)

    def start(self, rate: int) -> TokenizerState:
        """The state of a new stream of sound at `rate` Hz."""
        return TokenizerState(rate)

    def push(self, state: TokenizerState, samples: np.ndarray) -> list[Codes]:
        """Add sound (n,) float32 and return the codes of each step that it completes.

        Raises:
            AudioError: the stream is finished.
        """
        self._check(state)
        state.sound = np.concatenate((state.sound, samples.astype(np.float32)))
        state.samples += len(samples)
        out: list[Codes] = []
        while True:
            least = self.pace.first if state.done == 0 else state.done + self.pace.hop + self.pace.ahead
            if state.samples < state.sample(least):
                return out
            out.append(self._step(state, least - self.pace.ahead, least))

    def finish(self, state: TokenizerState) -> list[Codes]:
        """Return the codes of what is left; silence fills the last group, so that nothing is lost.

        Raises:
            AudioError: the stream had less than 120 ms, or is finished.
        """
        self._check(state)
        seconds = state.samples / state.rate
        if seconds < GROUP_S:
            raise AudioError(f"{seconds * 1000:.0f} ms is too short to tokenise; 120 ms is the least")
        groups = -(-state.samples // state.sample(1))
        rest = state.sample(groups) - state.samples + round(EDGE_S * state.rate)
        state.sound = np.pad(state.sound, (0, rest))
        state.finished = True
        if groups == state.done:
            return []
        codes = self._step(state, groups, groups)
        return [Codes(codes.linguistic, codes.semantic, seconds - (groups * GROUP_S - codes.seconds))]

    def _check(self, state: TokenizerState) -> None:
        if state.finished:
            raise AudioError("this stream of sound is finished")

    def _step(self, state: TokenizerState, end: int, seen: int) -> Codes:
        """Code the groups from `state.done` to `end` from sound until `seen`."""
        pace = self.pace
        first = max(state.oldest, seen - pace.window)
        features = self.encode(self._cut(state, first, seen))
        analysed = max(state.oldest, state.done - pace.context)
        fresh = self.analyse(self._cut(state, analysed, seen))
        fresh = _part(fresh, (state.done - analysed) * WORLD_PER_GROUP, (seen - analysed) * WORLD_PER_GROUP)
        known = fresh if state.frames is None else _joined(state.frames, fresh)
        world = known.to_array()
        before = len(known) // WORLD_PER_GROUP - (seen - state.done)  # coded groups that are still remembered
        relative = self.scale.relative(world, self.voice or WorldVoice.of(world))
        begin = max(first, state.done - before)
        features = features[(begin - first) * WHISPER_PER_GROUP :]
        relative = relative[(begin - state.done + before) * WORLD_PER_GROUP :]
        groups = group_count(len(relative), len(features))
        at, until = state.done - begin, min(end - begin, groups)
        with torch.inference_mode():
            streams = self.tokenizer(
                torch.from_numpy(features[: groups * WHISPER_PER_GROUP])[None],
                torch.from_numpy(relative[: groups * WORLD_PER_GROUP])[None],
            )
        linguistic = streams.linguistic_codes[0, 2 * at : 2 * until]
        semantic = streams.semantic_codes[0, 3 * at : 3 * until]
        kept = len(known) - (seen - end) * WORLD_PER_GROUP
        state.frames = _part(known, max(0, kept - pace.remembered * WORLD_PER_GROUP), kept)
        seconds = (end - state.done) * GROUP_S
        state.done = end
        self._forget(state)
        return Codes(tuple(linguistic.tolist()), tuple(semantic.tolist()), seconds)

    def _cut(self, state: TokenizerState, first: int, end: int) -> Audio:
        gone = state.sample(state.oldest)
        extra = round(EDGE_S * state.rate) if state.finished else 0
        return Audio(state.sound[state.sample(first) - gone : state.sample(end) - gone + extra], state.rate)

    def _forget(self, state: TokenizerState) -> None:
        pace = self.pace
        oldest = state.done - max(pace.window - pace.hop - pace.ahead, pace.context)
        if oldest > state.oldest:
            state.sound = state.sound[state.sample(oldest) - state.sample(state.oldest) :]
            state.oldest = oldest


def _part(frames: WorldFrames, first: int, end: int) -> WorldFrames:
    return WorldFrames(frames.f0[first:end], frames.spectrum[first:end], frames.aperiodicity[first:end])


def _joined(one: WorldFrames, other: WorldFrames) -> WorldFrames:
    return WorldFrames(
        np.concatenate((one.f0, other.f0)),
        np.concatenate((one.spectrum, other.spectrum)),
        np.concatenate((one.aperiodicity, other.aperiodicity)),
    )
