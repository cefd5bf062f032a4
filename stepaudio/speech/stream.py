"""Text deltas in, speech out: clauses are cut, spoken and joined as they are complete."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.speech.join import END_S, START_S, EdgeTrimmer, pause_after
from stepaudio.speech.normalise import can_say, check_language
from stepaudio.speech.split import RAMP, ClauseSplitter

if TYPE_CHECKING:
    from stepaudio.families.base import Mouth
    from stepaudio.styles import Style
    from stepaudio.voices import Voice


@dataclass
class SpeechState:
    """One text being spoken.

    Attributes:
        splitter: holds the text that is not yet a clause.
        pause: seconds of silence due before the next sound.
        clauses: how many clauses were spoken so far.
        unsaid: the errors of clauses in a language the voice does not speak.
    """

    splitter: ClauseSplitter
    pause: float = START_S
    clauses: int = 0
    unsaid: list[InputError] = field(default_factory=list)


@dataclass(frozen=True)
class SpeechStream:
    """Speaks texts with one mouth, voice and style; the state of each text is its own object.

    Attributes:
        mouth: makes the sound of one clause.
        voice: who speaks.
        style: how.
        seed: makes the result repeatable where the mouth samples; each clause gets its own seed from it.
        ramp: how long the clauses are; `EVENLY` gives up the early first sound for less work in all.
    """

    mouth: "Mouth"
    voice: "Voice"
    style: "Style"
    seed: int | None = None
    ramp: tuple[tuple[int, int], ...] = RAMP

    def start(self) -> SpeechState:
        """Begin a text."""
        return SpeechState(ClauseSplitter(self.voice.info.language, self.ramp))

    def push(self, state: SpeechState, delta: str) -> Iterator[Audio]:
        """Add text and yield the speech of the clauses it completes; nothing happens until it is iterated.

        Clauses without anything to say (marks, emoji) are passed over. A clause in a script that the voice
        does not speak is passed over too and noted in ``state.unsaid``.
        """
        for clause in state.splitter.push(delta):
            yield from self._say(state, clause)

    def finish(self, state: SpeechState) -> Iterator[Audio]:
        """Yield the speech of what is left of the text, and the silence that ends it."""
        for clause in state.splitter.finish():
            yield from self._say(state, clause)
        if state.clauses:
            rate = self.mouth.sample_rate
            yield Audio(np.zeros(round(END_S / self.style.speed * rate), np.float32), rate)

    def run(self, deltas: Iterable[str]) -> Iterator[Audio]:
        """Speak a whole text that comes in pieces.

        Raises:
            InputError: nothing in it can be said, or a part of it is in a language that the voice does not
                speak (raised after the rest was spoken).
        """
        state = self.start()
        for delta in deltas:
            yield from self.push(state, delta)
        yield from self.finish(state)
        if state.unsaid:
            raise state.unsaid[0]
        if not state.clauses:
            raise InputError("there is nothing to say: the text has no words")

    def _say(self, state: SpeechState, clause: str) -> Iterator[Audio]:
        if not can_say(clause):
            if state.clauses:
                state.pause = max(state.pause, pause_after(clause, self.style.speed))
            return
        try:
            check_language(clause, self.voice.info.language)
        except InputError as error:
            state.unsaid.append(error)
            return
        seed = None if self.seed is None else self.seed + state.clauses
        rate = self.mouth.sample_rate
        trimmer = EdgeTrimmer(rate)
        silence = np.zeros(round(state.pause * rate), np.float32)
        for chunk in self.mouth.speak(clause.strip(), voice=self.voice, style=self.style, seed=seed):
            sound = trimmer.push(chunk.samples)
            if sound.size:
                yield Audio(np.concatenate([silence, sound]), rate)
                silence = silence[:0]
        tail = trimmer.finish()
        if tail.size:
            yield Audio(tail, rate)
        if silence.size < round(state.pause * rate) or tail.size or not state.clauses:
            state.clauses += 1
            state.pause = pause_after(clause, self.style.speed)
