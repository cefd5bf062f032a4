"""What the ear learns from a recording: to write it down, to answer it, and to tell how it was said.

Source: arXiv 2507.16632, section 4 (the stages of training), at nano's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepaudio.features.heard import RIVALS, Heard
from stepaudio.lm.bridge import Bridge
from stepaudio.lm.prompts.chatml import ASSISTANT_OPEN, END, START
from stepaudio.lm.prompts.listening import WRITE_DOWN, heard_turn
from stepaudio.lm.prompts.questions import question
from stepaudio.lm.text import TextTokenizer
from stepaudio.training.heard import Recording

COURSE = ("write", "ask", "ask", "write", "answer", "ask")
"""Kinds of the batches, one after the other."""
LONG = 0.4
"""Share of a batch's usual size for batches of answers, which stand behind a long opening."""
TYPED = 0.4
"""Share of what is written or answered that is a text nobody said: text is plentiful."""


@dataclass(frozen=True, eq=False)
class Spoken:
    """A lesson: what was heard, and what the language model is to write on it.

    Attributes:
        heard: the sound.
        before: ids that stand before the sound.
        after: ids between the sound and the reply.
        reply: ids to write, the stop id last.
        read: ids of the same conversation with words for the sound; with them, the distribution over the
            reply's ids is learned that the language model has on reading.
    """

    heard: Heard
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    reply: tuple[int, ...] = ()
    read: tuple[int, ...] = ()


@dataclass(frozen=True)
class Teaching:
    """Makes lessons.

    Attributes:
        tokenizer: of the language model.
        bridge: from the ear's vocabulary.
        opening: what stands before a conversation, rendered.
    """

    tokenizer: TextTokenizer
    bridge: Bridge
    opening: str = ""

    def write(self, recording: Recording) -> Spoken:
        """Write it down: as it was heard where that is right, else as it was said."""
        from stepaudio.evaluation.metrics.text import normalise

        as_heard = self.bridge.text(recording.heard.words[:, 0].tolist())
        text = as_heard if normalise(as_heard) == normalise(recording.text) else recording.text
        turn = heard_turn(self.tokenizer, WRITE_DOWN)
        return Spoken(recording.heard, turn.before, turn.after, tuple(self.tokenizer.encode(text + END)))

    def answer(self, recording: Recording) -> Spoken:
        """Answer it as its words would be answered."""
        turn = heard_turn(self.tokenizer, so_far=self.opening)
        words = f"{self.opening}{START}user\n{recording.text}{END}\n{ASSISTANT_OPEN}"
        reply = tuple(self.tokenizer.encode(recording.answer + END))
        return Spoken(recording.heard, turn.before, turn.after, reply, tuple(self.tokenizer.encode(words)))

    def ask(self, recording: Recording, name: str, random: np.random.Generator | None = None) -> Spoken:
        """Ask how it was said.

        Args:
            recording: whose facts hold the answer.
            name: of the question.
            random: draws a wording; without, the first.
        """
        asked = question(name)
        wording = asked.wordings[0 if random is None else int(random.integers(len(asked.wordings)))]
        turn = heard_turn(self.tokenizer, "\n" + wording)
        reply = tuple(self.tokenizer.encode(asked.answers[recording.facts[name]] + END))
        return Spoken(recording.heard, turn.before, turn.after, reply)


class Course:
    """Draws the batch of a step: lessons of one kind.

    Args:
        recordings: to learn from.
        typed: texts that nobody said, as `typed` makes them.
        teaching: makes lessons.
        size: of a batch.
        seed: of the choices.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        typed: Sequence[Recording],
        teaching: Teaching,
        size: int,
        seed: int = 0,
    ) -> None:
        self.teaching, self.size, self.seed = teaching, size, seed
        self.recordings = list(recordings)
        self._written = [[each for each in part if each.text] for part in (recordings, typed)]
        self._answered = [[each for each in part if each.answer] for part in (recordings, typed)]
        self._facts = by_fact(recordings)

    def draw(self, step: int) -> list[Spoken]:
        """The batch of a step."""
        random = np.random.default_rng((self.seed, step))
        kind = COURSE[step % len(COURSE)]
        if kind == "ask" and self._facts:
            return [self._question(random) for _ in range(self.size)]
        if kind == "answer" and any(self._answered):
            count = max(1, round(LONG * self.size))
            return [self.teaching.answer(self._pick(self._answered, random)) for _ in range(count)]
        return [self.teaching.write(self._pick(self._written, random)) for _ in range(self.size)]

    def _pick(self, parts: Sequence[Sequence[Recording]], random: np.random.Generator) -> Recording:
        said, typed = parts
        chosen = typed if typed and (not said or random.random() < TYPED) else said
        return chosen[int(random.integers(len(chosen)))]

    def _question(self, random: np.random.Generator) -> Spoken:
        """Every question is drawn as often, and every answer to it."""
        names = sorted({name for name, _ in self._facts})
        name = names[int(random.integers(len(names)))]
        values = sorted(value for asked, value in self._facts if asked == name)
        value = values[int(random.integers(len(values)))]
        chosen = self._facts[name, value]
        return self.teaching.ask(chosen[int(random.integers(len(chosen)))], name, random)


def typed(bridge: Bridge, text: str, manner: np.ndarray, answer: str = "") -> Recording:
    """A text as if Whisper had heard it, sure of every word, in the manner of a recording."""
    words = np.zeros((0, RIVALS), np.int32)
    if ids := bridge.words(text):
        words = np.repeat(np.array(ids, np.int32)[:, None], RIVALS, 1)
    shares = np.zeros(words.shape, np.float32)
    shares[:, 0] = 1.0
    return Recording(text, "typed", text, Heard(words, shares, manner), answer=answer)


def by_fact(recordings: Sequence[Recording]) -> dict[tuple[str, str], list[Recording]]:
    """Recordings by question and answer."""
    found: dict[tuple[str, str], list[Recording]] = {}
    for recording in recordings:
        for name, value in recording.facts.items():
            found.setdefault((name, value), []).append(recording)
    return found
