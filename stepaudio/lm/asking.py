"""Questions about how something is said: the language model finds out what is asked, and the ear answers.

A question may be put in any words. It makes answers about its own matter likelier than they are without it,
and others not; so what it is about is the matter whose answers it makes likelier the most. Nothing is trained
for it. Source: A. Holtzman et al., "Surface Form Competition" (2021), which scores answers by what a question
adds to their likelihood. Which of the answers is right, the adaptor tells (`stepaudio.lm.adaptor`).
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stepaudio.lm.likelihood import log_likelihoods
from stepaudio.lm.prompts.chatml import ASSISTANT_OPEN, END, START
from stepaudio.lm.prompts.questions import QUESTIONS, Question

if TYPE_CHECKING:
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.text import TextTokenizer

UNLIKELY = -3.0
"""Nats a token below which no known answer is one to what is asked."""


@dataclass(eq=False)
class Asking:
    """A language model that tells what is asked.

    Attributes:
        model: the language model.
        tokenizer: its tokenizer.
    """

    model: "DecoderLM"
    tokenizer: "TextTokenizer"

    def matter(self, asked: str) -> Question | None:
        """The question that is put in these words; ``None`` where no known answer is one to it."""
        fits = self._likelihoods(asked)
        lengths = torch.tensor([len(row) for row in self._rows])
        if float((fits / lengths).max()) < UNLIKELY:
            return None
        gains = fits - self._unasked
        ends = list(accumulate(len(each.words) for each in QUESTIONS))
        means = [
            float(gains[end - len(each.words) : end].mean())
            for each, end in zip(QUESTIONS, ends, strict=True)
        ]
        return QUESTIONS[means.index(max(means))]

    @cached_property
    def _rows(self) -> list[list[int]]:
        """Ids of every known answer."""
        answers = [answer for each in QUESTIONS for answer in each.answers.values()]
        return [self.tokenizer.encode(answer + END) for answer in answers]

    @cached_property
    def _unasked(self) -> Tensor:
        """How likely the answers are to a turn that asks for nothing."""
        return self._likelihoods("")

    def _likelihoods(self, asked: str) -> Tensor:
        before = self.tokenizer.encode(f"{START}user\n{asked}{END}\n{ASSISTANT_OPEN}")
        return torch.tensor(log_likelihoods(self.model, before, self._rows))


def told(question: Question, shares: Tensor) -> str:
    """The answer to a question.

    Args:
        question: one of `QUESTIONS`.
        shares: (questions, most words) probabilities of their words (`lm.adaptor.Adaptor.shares`).
    """
    place = next(place for place, each in enumerate(QUESTIONS) if each.name == question.name)
    return list(question.answers.values())[int(shares[place].argmax())]
