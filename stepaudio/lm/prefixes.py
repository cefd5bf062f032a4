"""How likely a recording begins with given symbols: scores of connectionist temporal classification.

Source: A. Graves, "Supervised Sequence Labelling with Recurrent Neural Networks" (2008), section 7.5; used
beside a language model as in T. Hori, S. Watanabe and J. Hershey, "Joint CTC/attention decoding for
end-to-end speech recognition" (ACL 2017).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_NEVER = -700.0  # natural logarithm of next to nothing in float64
_LOST = 1e-9
"""Share of a prefix's likeliest frame below which its other frames no longer count."""
_LOOK_EVERY = 8


@dataclass(frozen=True, eq=False)
class Prefix:
    """Symbols that a recording may begin with.

    Attributes:
        first: frames that had been heard at the first entry of the next two.
        symbol_last: (n,) probability that just these symbols were heard by then, the last in the last frame.
        blank_last: (n,) the same with a blank in the last frame.
        last: the last symbol; 0 for none.
        score: log probability that the recording begins with these symbols, whatever follows.
        longer: (symbols,) the score of the prefix that is longer by each symbol; entry 0 has no meaning.
    """

    first: int
    symbol_last: np.ndarray
    blank_last: np.ndarray
    last: int
    score: float
    longer: np.ndarray


class Prefixes:
    """The prefixes of one recording.

    Args:
        logits: (T, symbols) of the frames; symbol 0 is the blank.

    Scores are relative to the likeliest course of symbols and blanks, so that no recording is too long.
    """

    def __init__(self, logits: np.ndarray) -> None:
        shares = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
        self.frames = len(shares)
        self._shares = np.maximum(shares, 1e-9)
        blanks = np.concatenate([[1.0], np.cumprod(self._shares[:, 0])])
        # Of everything that may still follow, by the number of frames that were heard.
        self._rest = np.concatenate([np.log(self._shares.sum(1))[::-1].cumsum()[::-1], [0.0]])
        self.empty = self._finished(0, np.zeros_like(blanks), blanks, 0, float(self._rest[0]))

    def extend(self, longer: Sequence[tuple[Prefix, int]]) -> list[Prefix]:
        """Return prefixes that are longer by a symbol each."""
        if not longer:
            return []
        first = min(prefix.first for prefix, _ in longer)
        heard = max(prefix.first + len(prefix.blank_last) for prefix, _ in longer) - first
        count, frames = len(longer), self.frames - first
        before = np.zeros((frames + 1, count))
        for column, (prefix, symbol) in enumerate(longer):
            # A symbol twice in a row needs a blank between.
            ways = prefix.blank_last if symbol == prefix.last else prefix.blank_last + prefix.symbol_last
            before[prefix.first - first : prefix.first - first + len(ways), column] = ways
        shares = self._shares[first:]
        own, blank = shares[:, [symbol for _, symbol in longer]], shares[:, 0]
        by_symbol, by_blank = np.zeros((frames + 1, count)), np.zeros((frames + 1, count))
        with_symbol, with_blank = np.zeros(count), np.zeros(count)
        frame = 0
        while frame < frames:
            with_blank = (with_blank + with_symbol) * blank[frame]
            with_symbol = (with_symbol + before[frame]) * own[frame]
            frame += 1
            by_symbol[frame], by_blank[frame] = with_symbol, with_blank
            if frame >= heard and frame % _LOOK_EVERY == 0:
                most = by_symbol[: frame + 1].max(0) + by_blank[: frame + 1].max(0)
                if bool((with_symbol + with_blank < _LOST * most).all()):
                    break
        return [
            self._cut(first, by_symbol[: frame + 1, column], by_blank[: frame + 1, column], prefix, symbol)
            for column, (prefix, symbol) in enumerate(longer)
        ]

    def whole(self, prefix: Prefix) -> float:
        """Return the log probability that the recording holds exactly these symbols."""
        if prefix.first + len(prefix.blank_last) <= self.frames:
            return _NEVER
        return _log(float(prefix.symbol_last[-1] + prefix.blank_last[-1]))

    def _cut(
        self, first: int, by_symbol: np.ndarray, by_blank: np.ndarray, parent: Prefix, symbol: int
    ) -> Prefix:
        both = by_symbol + by_blank
        kept = np.nonzero(both > _LOST * both.max())[0]
        start, end = (int(kept[0]), int(kept[-1]) + 1) if len(kept) else (0, 1)
        part = slice(start, end)
        score = float(parent.longer[symbol])
        return self._finished(first + start, by_symbol[part].copy(), by_blank[part].copy(), symbol, score)

    def _finished(
        self, first: int, symbol_last: np.ndarray, blank_last: np.ndarray, last: int, score: float
    ) -> Prefix:
        shares = self._shares[first : first + len(blank_last)]
        rest = self._rest[first + 1 : first + 1 + len(shares)]
        follows = shares * np.exp(rest - rest[:1])[:, None]
        longer = (symbol_last + blank_last)[: len(shares)] @ follows
        if last:
            longer[last] = blank_last[: len(shares)] @ follows[:, last]
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(longer) + rest[:1].sum(), _NEVER)
        return Prefix(first, symbol_last, blank_last, last, score, logs)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else _NEVER
