"""Answers against references without a language model: exact match, token F1, containment.

The normalisation is the one usual for open questions (SQuAD): lower case, no punctuation, no articles.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_ARTICLES = frozenset({"a", "an", "the"})
# Han, kana and Hangul: every character is a token, since no blanks part the words.
_TOKEN = re.compile(r"[㐀-鿿豈-﫿぀-ヿ가-힯]|[^\W_㐀-鿿豈-﫿぀-ヿ가-힯]+")


def tokens(text: str) -> list[str]:
    """Return the comparable tokens of `text`: words, or single characters of unspaced scripts."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    return [token for token in _TOKEN.findall(plain) if token not in _ARTICLES]


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """Whether the answer has the same tokens as one of the references."""
    given = tokens(answer)
    return any(given == tokens(reference) for reference in references)


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Return the best F1 of shared tokens over the references, 0 to 1."""
    return max((_f1(tokens(answer), tokens(reference)) for reference in references), default=0.0)


def contains_answer(answer: str, references: Sequence[str]) -> bool:
    """Whether one of the references occurs in the answer as a run of whole tokens."""
    given = tokens(answer)
    return any(_contains(given, tokens(reference)) for reference in references)


def _f1(given: list[str], wanted: list[str]) -> float:
    if not given or not wanted:
        return float(given == wanted)
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted))


def _contains(given: list[str], wanted: list[str]) -> bool:
    return bool(wanted) and any(
        given[at : at + len(wanted)] == wanted for at in range(len(given) - len(wanted) + 1)
    )
