"""From what was heard to embeddings of a language model: mixtures of words that may have been said."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stepaudio.features.heard import Heard

if TYPE_CHECKING:
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.text import TextTokenizer
    from tokenizers import Tokenizer


class Bridge:
    """From Whisper's vocabulary to that of a language model, word by word as they are met.

    Args:
        whisper: tokenizer of the ear.
        tokenizer: of the language model.
    """

    def __init__(self, whisper: "Tokenizer", tokenizer: "TextTokenizer") -> None:
        self._whisper, self._tokenizer = whisper, tokenizer
        self._known: dict[tuple[int, bool], tuple[int, ...]] = {}

    def pieces(self, word: int, first: bool = False) -> tuple[int, ...]:
        """The language model's ids of a word; none for Whisper's own marks.

        Args:
            word: in Whisper's vocabulary.
            first: no blank stands before it.
        """
        key = (word, first)
        if key not in self._known:
            text = self._whisper.decode([word])
            self._known[key] = tuple(self._tokenizer.encode(text.lstrip() if first else text))
        return self._known[key]

    def text(self, words: Sequence[int]) -> str:
        """Words of Whisper's vocabulary as text."""
        return str(self._whisper.decode(list(words))).strip()

    def mixtures(self, heard: Heard) -> tuple[Tensor, Tensor]:
        """What stands at each place of the language model.

        A word that the language model writes in several pieces takes as many places, and rivals count where
        they take as many as the likeliest one.

        Returns:
            (m, rivals) int64 ids and (m, rivals) float32 shares that sum to one, likeliest first.
        """
        ids: list[list[int]] = []
        shares: list[list[float]] = []
        for place, words in enumerate(heard.words.tolist()):
            pieces = [self.pieces(word, first=place == 0) for word in words]
            fits = [len(each) == len(pieces[0]) for each in pieces]
            chances = heard.shares[place] * fits
            for at in range(len(pieces[0])):
                ids.append([each[at] if fit else 0 for each, fit in zip(pieces, fits, strict=True)])
                shares.append((chances / chances.sum()).tolist())
        width = heard.words.shape[1]
        return (
            torch.tensor(ids, dtype=torch.int64).reshape(-1, width),
            torch.tensor(shares, dtype=torch.float32).reshape(-1, width),
        )


def soft_words(model: "DecoderLM", ids: Tensor, shares: Tensor) -> Tensor:
    """Embeddings (m, hidden) of mixtures of words, see `Bridge.mixtures`."""
    words = model.embed(ids)
    return (words * shares[..., None].to(words)).sum(-2)
