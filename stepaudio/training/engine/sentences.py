"""Made-up sentences from patterns: numbers, dates, money, abbreviations and names in any number."""

import random
import re
from collections.abc import Mapping, Sequence

from stepaudio.errors import InputError

_SLOT = re.compile(r"\{(?:(-?\d+)\.\.(-?\d+)(?::(\d+))?|(\w+))\}")


def fill(pattern: str, words: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """Fill the slots of a pattern from left to right.

    Args:
        pattern: text with ``{name}`` for one of the words of that name, ``{1..28}`` for a whole number, both
            ends included, and ``{0..59:02}`` for one that is filled up with zeros to two digits.
        words: by name.
        rng: decides.

    Raises:
        InputError: there are no words of a name.
    """

    def one(slot: re.Match[str]) -> str:
        low, high, width, name = slot.groups()
        if name is None:
            return str(rng.randint(int(low), int(high))).zfill(int(width or 0))
        if name not in words:
            raise InputError(f"the pattern {pattern!r} wants words called {name}, and there are none")
        return rng.choice(words[name])

    return _SLOT.sub(one, pattern)
