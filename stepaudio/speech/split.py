"""Text deltas to clauses: the first ones short so that speech starts early, then whole sentences.

Every cut depends on the text alone, never on how it came in pieces, so streamed and offline agree; the
clauses put together are the text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

# (shortest clause that may end at a comma, longest clause) in characters: clause by clause, the last repeats.
# Each grows by less than what is spoken while the next is made (real-time factor 0.4).
RAMP: tuple[tuple[int, int], ...] = ((16, 80), (48, 150), (200, 240))
EVENLY = RAMP[-1:]  # where nobody waits for the first sound

_ENDS = ".!?…"
_WIDE_ENDS = "。！？；"  # end a sentence without a space after them
_SOFT = ",;:—–"
_WIDE_SOFT = "，、："
_CLOSERS = "\"'”’)]}»」』）】*_"
_BULLET = re.compile(r"[-*•–]\s|\d{1,3}[.)]\s")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What ends with a full stop and is no end of a sentence, by language; without the last stop, lower case.
_ABBREVIATIONS: dict[str, frozenset[str]] = {
    "en": _words("""
        mr mrs ms dr prof rev hon sr jr st mt ft gen col lt capt sgt cmdr gov sen rep pres vs etc e.g i.e cf
        viz al approx dept est inc ltd co corp a.m p.m u.s u.k u.n d.c
    """),
}
# These are abbreviations only before a number, as in "No. 5" and "Jan. 3".
_BEFORE_NUMBER: dict[str, frozenset[str]] = {
    "en": _words("""
        no nos vol pp fig figs eq sec ch jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu
        thurs fri sat sun
    """),
}
# These may also end a sentence: they do when a capital follows.
_MAY_END: dict[str, frozenset[str]] = {
    "en": _words("etc inc ltd co corp jr sr a.m p.m u.s u.k u.n d.c al est dept approx ft"),
}
# Words that start a phrase: the best places to cut a long clause that has no comma.
_PHRASE_STARTS: dict[str, frozenset[str]] = {
    "en": _words("""
        and but or so because although though while when where which who that if as than since until after
        before to for with from in on at by of
    """),
}


@dataclass
class ClauseSplitter:
    """Cuts a growing text into clauses; one object per text.

    Attributes:
        language: ISO 639-1 code or BCP 47 tag; decides abbreviations and phrase words.
        ramp: (shortest soft clause, longest clause) in characters, clause by clause; the last repeats.
    """

    language: str = "en"
    ramp: tuple[tuple[int, int], ...] = RAMP
    _buffer: str = field(default="", repr=False)
    _count: int = 0

    def push(self, delta: str) -> list[str]:
        """Add text and return the clauses that are complete, with the white space that follows them."""
        self._buffer += delta
        return list(self._take(final=False))

    def finish(self) -> list[str]:
        """Return the clauses of what is left; the splitter starts anew after it."""
        clauses = list(self._take(final=True))
        self._buffer, self._count = "", 0
        return clauses

    def _take(self, *, final: bool) -> Iterable[str]:
        while self._buffer:
            shortest, longest = self.ramp[min(self._count, len(self.ramp) - 1)]
            cut = _find_cut(self._buffer, shortest, longest, self.language.split("-")[0].lower(), final=final)
            if cut is None:
                return
            clause, self._buffer = self._buffer[:cut], self._buffer[cut:]
            if any(char.isalnum() for char in clause):
                self._count += 1
            yield clause


def split(text: str, language: str = "en") -> list[str]:
    """Cut a whole text into clauses; their concatenation is the text."""
    splitter = ClauseSplitter(language)
    return [*splitter.push(text), *splitter.finish()]


def _find_cut(text: str, shortest: int, longest: int, language: str, *, final: bool) -> int | None:
    """Return where the first clause of `text` ends (after its white space); ``None`` asks for more text."""
    position = len(text) - len(text.lstrip())
    start = position
    while position < len(text):
        if position - start >= longest:
            return _long_cut(text, start, position, language)
        verdict = _boundary(text, position, position - start >= shortest, language, final=final)
        if verdict is None:
            return None
        if verdict:
            return verdict
        position += 1
    return len(text) if final else None


def _boundary(text: str, at: int, soft: bool, language: str, *, final: bool) -> int | None:
    """Return the end of the clause that ends with ``text[at]``; 0: none does; ``None``: not yet known."""
    char = text[at]
    if char == "\n":
        return _line_end(text, at, final=final)
    ends = char in _ENDS or char in _WIDE_ENDS
    pauses = soft and (char in _SOFT or char in _WIDE_SOFT)
    if not ends and not pauses:
        return 0
    end = at + 1
    while end < len(text) and text[end] in (_ENDS + _WIDE_ENDS + _CLOSERS if ends else _CLOSERS):
        end += 1
    after = end
    while after < len(text) and text[after].isspace():
        after += 1
    if after == len(text):
        return len(text) if final else None
    if char in _WIDE_ENDS or char in _WIDE_SOFT:
        return after
    if after == end or _unfinished(text, at, text[after], language):
        return 0
    return after


def _unfinished(text: str, at: int, following: str, language: str) -> bool:
    """Whether the mark at `at`, with a space after it, stands inside a sentence."""
    if text[at] in _ENDS and following.islower():
        return True
    if text[at] != ".":
        return False
    word = re.split(r"[\s(\[\"'“‘]", text[max(0, at - 24) : at])[-1].lower()
    if word in _ABBREVIATIONS.get(language, ()):
        return word not in _MAY_END.get(language, ()) or not following.isupper()
    if following.isdigit() and word in _BEFORE_NUMBER.get(language, ()):
        return True
    if len(word) == 1 and word.isalpha() and word != "i":
        return True  # an initial: "J. Smith"
    return word.isdigit() and len(word) <= 3 and not text[: at - len(word)].strip()  # a list's "1. "


def _line_end(text: str, at: int, *, final: bool) -> int | None:
    """A line break ends the clause before an empty line or a list item."""
    match = re.compile(r"\s*").match(text, at)
    after = match.end() if match else at
    rest = text[after : after + 5]
    if not final and (after == len(text) or (len(rest) < 5 and not rest[0].isalpha())):
        return None
    paragraph = text.count("\n", at, after) > 1
    return after if after == len(text) or paragraph or _BULLET.match(rest) else 0


def _long_cut(text: str, start: int, limit: int, language: str) -> int:
    """Return the best cut of a clause that is too long: a comma, a phrase, a space, or anywhere."""
    window = text[start:limit]
    floor = len(window) // 3
    commas = [match.end() for match in re.finditer(r"[,;:—–](?=\s)|[，、：]", window)]
    words = [match.end() for match in re.finditer(r"\s+", window)]
    starts = _PHRASE_STARTS.get(language, frozenset())
    phrases = [
        end
        for end in words
        if (match := re.match(r"[^\W\d_]+(?=\s)", window[end:])) and match[0].lower() in starts
    ]
    for ends in (commas, phrases, words):
        if ends and ends[-1] >= floor:
            cut = start + ends[-1]
            while cut < limit and text[cut].isspace():
                cut += 1
            return cut
    return limit
