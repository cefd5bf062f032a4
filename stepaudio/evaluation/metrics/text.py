"""Word and character error rates as the field reports them: Whisper's normaliser, jiwer's alignment."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from stepaudio.errors import ModelError

# Languages written without spaces between words are counted in characters.
CHARACTER_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})


@dataclass(frozen=True)
class Errors:
    """The alignment of a hypothesis with its reference, in words or in characters.

    Attributes:
        substitutions: wrong ones.
        deletions: missing ones.
        insertions: added ones.
        length: how many the reference has.
    """

    substitutions: int
    deletions: int
    insertions: int
    length: int

    @property
    def count(self) -> int:
        """All errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors over the reference's length; any insertion against an empty reference counts as 1."""
        return self.count / self.length if self.length else float(self.count > 0)


def counts_characters(language: str) -> bool:
    """Whether `language` (ISO 639-1, or ``yue``) is scored by character error rate."""
    return language.lower().split("-")[0] in CHARACTER_LANGUAGES


def normalise(text: str, language: str = "en") -> str:
    """Return `text` as it is compared: Whisper's English rules for English, its basic rules for others.

    Languages counted in characters lose their blanks too, and full-width forms become plain ones.

    Raises:
        ModelError: the extra ``eval`` is not installed.
    """
    if language.lower().split("-")[0] == "en":
        return str(_normaliser("english")(text)).strip()
    plain = str(_normaliser("basic")(unicodedata.normalize("NFKC", text))).strip()
    return "".join(plain.split()) if counts_characters(language) else plain


def word_errors(reference: str, hypothesis: str) -> Errors:
    """Align the words of two texts that are already normalised."""
    if not reference.split() or not hypothesis.split():
        return _one_sided(len(reference.split()), len(hypothesis.split()))
    found = _jiwer().process_words(reference, hypothesis)
    return Errors(found.substitutions, found.deletions, found.insertions, len(reference.split()))


def character_errors(reference: str, hypothesis: str) -> Errors:
    """Align the characters of two texts that are already normalised."""
    if not reference or not hypothesis:
        return _one_sided(len(reference), len(hypothesis))
    found = _jiwer().process_characters(reference, hypothesis)
    return Errors(found.substitutions, found.deletions, found.insertions, len(reference))


def text_errors(reference: str, hypothesis: str, language: str = "en") -> Errors:
    """Normalise both texts by the rules of `language` and align them in its unit."""
    align = character_errors if counts_characters(language) else word_errors
    return align(normalise(reference, language), normalise(hypothesis, language))


def _one_sided(reference: int, hypothesis: int) -> Errors:
    return Errors(0, reference if not hypothesis else 0, hypothesis if not reference else 0, reference)


@lru_cache(maxsize=2)
def _normaliser(kind: str) -> Callable[[str], str]:
    try:
        from whisper_normalizer.basic import BasicTextNormalizer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        raise ModelError("scoring text needs the extra eval: pip install 'stepaudio[eval]'") from None
    made: Callable[[str], str] = EnglishTextNormalizer() if kind == "english" else BasicTextNormalizer()
    return made


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError:
        raise ModelError("scoring text needs the extra eval: pip install 'stepaudio[eval]'") from None
    return jiwer
