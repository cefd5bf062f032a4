"""Written text to words that can be said: numbers, dates, money, abbreviations, addresses, symbols.

The work is done by spokenform; here is what it leaves alone, and what keeps its reading bounded.
"""

import re
import unicodedata

from stepaudio.errors import InputError

MAX_CHARACTERS = 400  # a clause is shorter; spokenform's cost grows with the square of the length

_SPACES = re.compile(r"\s+")
_MARKDOWN = re.compile(r"(?<!\w)[*_`~#]+(?=\w)|(?<=[\w.!?,])[*_`~]+(?!\w)|^\s*(?:[-*•>]|#{1,6})\s+")
_LINK = re.compile(r"\[([^\]]+)\]\((?:[^)\s]+)\)")
# Reading plain words as they are saves most clauses the cost of the full normaliser.
_PLAIN = re.compile(r"[^\W\d_]{2,}(?:['’][^\W\d_]+)*|[aAI]|[\s,.;:!?…—–\"“”()-]")
_ACRONYM = re.compile(r"\b[A-Z]{2,5}s?\b")
_SYMBOLS: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        (r"&", " and "),
        (r"(?<=\d)\s*[x×]\s*(?=\d)", " by "),
        (r"(?<=\d)x\b", " times"),
        (r"~\s*(?=[\d$€£])", " about "),
        (r"(?<=\w)\s*\+\s*(?=\w)", " plus "),
        (r"(?<=\w)\s+=\s+(?=\w)", " equals "),
        (r"\b24/7\b", " twenty-four seven "),
        (r"(\d+)'\s?(\d+)\"", r" \1 foot \2 "),
    ),
}
_QUOTES = str.maketrans({"’": "'", "‘": "'", "«": "“", "»": "”", "\u00a0": " ", "‐": "-", "‑": "-"})
_LETTERS: dict[str, tuple[str, ...]] = {"en": ("LATIN",)}


def can_say(text: str) -> bool:
    """Whether there is anything in `text` to be said: a letter or a digit, not only marks or emoji."""
    return any(char.isalnum() for char in text)


def check_language(text: str, language: str) -> None:
    """Refuse text that is mostly in letters the language is not written in.

    Raises:
        InputError: at least half of the letters are of another script.
    """
    scripts = _LETTERS.get(language.split("-")[0].lower())
    letters = [char for char in text if char.isalpha()]
    if scripts is None or not letters:
        return
    foreign = [char for char in letters if not _of_script(char, scripts)]
    if 2 * len(foreign) >= len(letters):
        shown = text.strip()[:20]
        raise InputError(f"cannot say {shown!r}: this voice speaks {language}")


def normalise(text: str, language: str = "en-us") -> str:
    """Return `text` as plain words and punctuation, ready for phonemes.

    Letters of a script that the language is not written in are left out; see `check_language` for text that
    is mostly made of them.

    Args:
        text: one clause, at most 400 characters.
        language: BCP 47 tag, for example ``en-us``.

    Raises:
        InputError: the text is longer than 400 characters.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"a clause of {len(text)} characters is too long to be read at once")
    text = unicodedata.normalize("NFC", text).translate(_QUOTES)
    base = language.split("-")[0].lower()
    text = _LINK.sub(r"\1", text)
    text = _MARKDOWN.sub("", text)
    if _PLAIN.sub("", text) or _ACRONYM.search(text):
        for pattern, words in _SYMBOLS.get(base, ()):
            text = re.sub(pattern, words, text)
        text = _spell_out(text, language)
    scripts = _LETTERS.get(base)
    kept = (char for char in text if _sayable(char, scripts))
    return _SPACES.sub(" ", "".join(kept)).strip()


def _spell_out(text: str, language: str) -> str:
    from spokenform import prepare

    base, _, region = language.partition("-")
    try:
        tag = f"{base}-{region.upper()}" if region else base
        return str(prepare(text, language=tag, use_spacy=False, normalize_literals=True).spoken_text)
    except ValueError:
        return text  # garbled numerals such as "7,,8%": the phonemizer reads them digit by digit


def _of_script(char: str, scripts: tuple[str, ...]) -> bool:
    return unicodedata.name(char, "").startswith(scripts)


def _sayable(char: str, scripts: tuple[str, ...] | None) -> bool:
    if char.isalpha():
        return scripts is None or _of_script(char, scripts)
    # Emoji and other pictures are "So"; joiners and control characters are "C*".
    return char.isspace() or not unicodedata.category(char).startswith(("C", "So"))
