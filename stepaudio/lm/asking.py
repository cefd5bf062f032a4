"""Questions about how something is said: the language model finds out what is asked, and the ear answers.

A question may be put in any words. The language model has read a few questions about each matter, and a few
about others; a new one is about what it would be the likeliest to follow. Nothing is trained for it.
Source: S. Min et al., "Noisy Channel Language Model Prompting for Few-Shot Text Classification"
(arXiv 2108.04106). Which of the answers is right, the adaptor tells (`stepaudio.lm.adaptor`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from torch import Tensor

from stepaudio.lm.likelihood import Contexts, likelihoods_in, read_contexts
from stepaudio.lm.prompts.questions import OTHERS, QUESTIONS, Question

if TYPE_CHECKING:
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.text import TextTokenizer

CLEARLY = 4.0
"""Nats by which a question must be likelier among those about a matter than among others."""
KEPT = 256
"""Questions whose matter is remembered."""


@dataclass(eq=False)
class Asking:
    """A language model that tells what is asked; safe to use from several threads.

    Attributes:
        model: the language model.
        tokenizer: its tokenizer.
    """

    model: "DecoderLM"
    tokenizer: "TextTokenizer"
    _known: dict[str, Question | None] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def load(self) -> None:
        """Read the known questions, which otherwise happens at first use."""
        with self._lock:
            _ = self._whether, self._which

    def matter(self, asked: str) -> Question | None:
        """The question that is put in these words; ``None`` where it is about something else."""
        asked = " ".join(asked.split())
        with self._lock:
            if asked not in self._known:
                if len(self._known) >= KEPT:
                    self._known.clear()
                self._known[asked] = self._matter(asked)
            return self._known[asked]

    def _matter(self, asked: str) -> Question | None:
        ids = self.tokenizer.encode(f" {asked}\n")
        # Most questions are about something else, and two lists are a third of the work.
        manner, other = likelihoods_in(self._whether, ids)
        if manner + CLEARLY <= other:
            return None
        fits = likelihoods_in(self._which, ids)
        best = max(fits)
        return QUESTIONS[fits.index(best)] if best > other + CLEARLY else None

    @cached_property
    def _whether(self) -> Contexts:
        some = [wording for each in QUESTIONS for wording in each.wordings[1:3]]
        return self._lists(("how the speaker sounds", some), ("anything else", OTHERS))

    @cached_property
    def _which(self) -> Contexts:
        return self._lists(*((each.about, each.wordings) for each in QUESTIONS))

    def _lists(self, *lists: tuple[str, Sequence[str]]) -> Contexts:
        texts = [f"Questions about {about}:\n" + "".join(f"- {w}\n" for w in known) for about, known in lists]
        return read_contexts(self.model, [self.tokenizer.encode(text + "-") for text in texts])


def told(question: Question, shares: Tensor) -> str:
    """The answer to a question.

    Args:
        question: one of `QUESTIONS`.
        shares: (questions, most words) probabilities of their words (`lm.adaptor.Adaptor.shares`).
    """
    place = next(place for place, each in enumerate(QUESTIONS) if each.name == question.name)
    return list(question.answers.values())[int(shares[place].argmax())]
