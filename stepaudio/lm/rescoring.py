"""Writing down what was heard: of the ways to read what Whisper expects, the one that makes most sense.

What was heard is a row of words with rivals. The likeliest ways through it are read by the language model, in
the user's turn; ear and language model decide together (N-best rescoring; R. Schwartz and Y.-L. Chow, "The
N-best algorithm", 1990).
"""

from dataclasses import dataclass

import numpy as np

from stepaudio.features.heard import Heard


@dataclass(frozen=True)
class RescoringRules:
    """How ear and language model decide.

    Attributes:
        ways: that the language model reads.
        language: weight of what it thinks of the words; the ear's is one.
        least: probability that a rival must have to be considered.
    """

    ways: int = 6
    language: float = 0.3
    least: float = 0.05


@dataclass(frozen=True)
class Way:
    """Words, and the logarithm of their probability to the ear."""

    words: tuple[int, ...]
    log_share: float


def likeliest_ways(heard: Heard, rules: RescoringRules) -> list[Way]:
    """The likeliest ways to read what was heard, best first; at least one."""
    ways = [Way((), 0.0)]
    for words, shares in zip(heard.words.tolist(), heard.shares.tolist(), strict=True):
        rivals = [
            (word, float(np.log(share)))
            for place, (word, share) in enumerate(zip(words, shares, strict=True))
            if place == 0 or share >= rules.least
        ]
        longer = [Way((*way.words, word), way.log_share + log) for way in ways for word, log in rivals]
        ways = sorted(longer, key=lambda way: -way.log_share)[: rules.ways]
    return ways
