"""Writing down what was heard: the language model says which words are likely, the ear how they sounded.

A word's cost joins the language model's probability of its tokens with the connectionist temporal
classification's of its sounds (T. Hori, S. Watanabe and J. Hershey, ACL 2017); the words that can be meant
come from a lexicon. All courses grow in one row of a KV cache, as branches of a tree, so that the language
model reads several words at once and nothing is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from stepaudio.cancel import CancelToken
from stepaudio.lm.cache import KVCache
from stepaudio.lm.lexicon import Lexicon, Word
from stepaudio.lm.model import Branches, DecoderLM
from stepaudio.lm.prefixes import Prefix, Prefixes


@dataclass(frozen=True)
class JointRules:
    """How the search weighs and what it leaves out; scores are natural logarithms.

    Attributes:
        language: weight of the language model beside the sounds.
        symbol: what each symbol is given back, so that long courses compare with short ones.
        word: the same of each word.
        beam: courses that are read at once.
        reach: symbols by which the courses read at once may differ in length.
        near: how far behind the best a course may fall that is at least as long.
        sounds: how much less likely than the likeliest the beginning of a next word may sound.
        width: beginnings of words that are followed at once.
        offers: next words of a course that are kept.
        marks: ids of punctuation that may follow a word.
    """

    language: float = 1.1
    symbol: float = 1.3
    word: float = 0.5
    beam: int = 5
    reach: int = 4
    near: float = 6.0
    sounds: float = 9.0
    width: int = 32
    offers: int = 12
    marks: tuple[int, ...] = ()


@dataclass(eq=False)
class _Course:
    """Words that may have been said; the last ones' tokens may still have to be read."""

    symbols: tuple[int, ...]
    prefix: Prefix
    ids: tuple[int, ...] = ()
    unread: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()
    language: float = 0.0
    words: int = 0
    marked: bool = False

    def and_then(self, ids: tuple[int, ...], shares: np.ndarray) -> "_Course":
        """Add tokens: the first at its cost, the others at what they cost once it is read."""
        language = self.language + float(shares[ids[0]])
        return replace(self, ids=(*self.ids, *ids), unread=ids, language=language)

    def score(self, rules: JointRules) -> float:
        heard = self.prefix.score + rules.symbol * len(self.symbols) + rules.word * self.words
        return rules.language * self.language + heard


@dataclass(eq=False)
class _Search:
    model: DecoderLM
    cache: KVCache
    prefixes: Prefixes
    lexicon: Lexicon
    rules: JointRules
    base: int
    open: dict[tuple[tuple[int, ...], str, bool], _Course] = field(default_factory=dict)
    best: dict[tuple[tuple[int, ...], str, bool], float] = field(default_factory=dict)
    known: dict[tuple[int, ...], Prefix] = field(default_factory=dict)
    read: list[int] = field(default_factory=list)


@torch.inference_mode()
def write_down(
    model: DecoderLM,
    cache: KVCache,
    logits: torch.Tensor,
    sounds: np.ndarray,
    lexicon: Lexicon,
    end: int,
    rules: JointRules | None = None,
    cancel: CancelToken | None = None,
) -> list[int]:
    """Return the ids of what was said.

    Args:
        model: the language model.
        cache: what stands before, one row; as it was when this returns.
        logits: (vocabulary,) after that.
        sounds: (T, symbols) logits of the symbols of each frame, 0 the blank.
        lexicon: the words.
        end: the id behind the last word.
        rules: of the search.
        cancel: ends it at once, with nothing.
    """
    rules = rules or JointRules()
    state = _Search(model, cache, Prefixes(sounds), lexicon, rules, cache.lengths[0])
    nothing, shares = _Course((), state.prefixes.empty), _log_shares(logits)
    best, said = _ended(state, nothing, float(shares[end])), nothing.ids
    room = model.config.max_position_embeddings
    try:
        _grow(state, nothing, shares)
        while (front := _front(state, best)) and not (cancel is not None and cancel.cancelled):
            if cache.lengths[0] + sum(len(each.unread) for each in front) > room:
                break
            for course, shares in zip(front, _read(state, front), strict=True):
                ended = _ended(state, course, float(shares[end]))
                if ended > best:
                    best, said = ended, course.ids
                _grow(state, course, shares)
    finally:
        cache.truncate(state.base)
    return [] if cancel is not None and cancel.cancelled else list(said)


def _ended(state: _Search, course: _Course, end: float) -> float:
    return (
        course.score(state.rules)
        - course.prefix.score
        + state.prefixes.whole(course.prefix)
        + (state.rules.language * end)
    )


def _log_shares(logits: torch.Tensor) -> np.ndarray:
    out: np.ndarray = logits.float().log_softmax(-1).cpu().numpy()
    return out


def _grow(state: _Search, course: _Course, shares: np.ndarray) -> None:
    """Open the courses that go on with a word or a mark."""
    rules = state.rules
    offers: list[tuple[float, str, _Course]] = []
    for symbols, prefix, words in _next_words(state, course):
        heard = replace(course, symbols=symbols, prefix=prefix, words=course.words + 1, marked=False)
        for word in words:
            longer = heard.and_then(word.ids if course.words else word.first_ids, shares)
            offers.append((longer.score(rules), word.text, longer))
    offers.sort(key=lambda offer: -offer[0])
    for score, text, longer in offers[: rules.offers]:
        _open(state, (longer.symbols, text, False), score, longer)
    if rules.marks and course.words and not course.marked:
        mark = max(rules.marks, key=lambda each: float(shares[each]))
        longer = replace(course, marked=True).and_then((mark,), shares)
        _open(state, (longer.symbols, "", True), longer.score(rules), longer)


def _open(state: _Search, key: tuple[tuple[int, ...], str, bool], score: float, course: _Course) -> None:
    """Take a course up unless one with the same last word is as good."""
    if score <= state.best.get(key, -np.inf):
        return
    state.best[key] = score
    state.open[key] = course


def _next_words(state: _Search, course: _Course) -> list[tuple[tuple[int, ...], Prefix, tuple[Word, ...]]]:
    """Words that may sound next: all symbols with theirs, the prefix, and how they are written."""
    rules = state.rules
    found: list[tuple[tuple[int, ...], Prefix, tuple[Word, ...]]] = []
    best = -np.inf
    level = [(0, course.symbols, course.prefix)]
    while level:
        children = state.lexicon.children([node for node, _, _ in level])
        scores = np.where(children > 0, np.stack([each.longer for _, _, each in level]), -np.inf)
        # What was as likely some symbols ago may have cost as much by now.
        best = max(best - rules.symbol, float(scores.max()))
        rows, next_symbols = np.nonzero(scores > best - rules.sounds)
        if len(rows) > rules.width:
            kept = np.argpartition(-scores[rows, next_symbols], rules.width)[: rules.width]
            rows, next_symbols = rows[kept], next_symbols[kept]
        longer = [
            ((*level[row][1], int(symbol)), level[row][2])
            for row, symbol in zip(rows, next_symbols, strict=True)
        ]
        level = [
            (int(children[row, symbol]), symbols, each)
            for row, symbol, (symbols, _), each in zip(
                rows, next_symbols, longer, _prefixes(state, longer), strict=True
            )
        ]
        found += [
            (symbols, each, words) for node, symbols, each in level if (words := state.lexicon.words(node))
        ]
    return found


def _prefixes(state: _Search, longer: Sequence[tuple[tuple[int, ...], Prefix]]) -> list[Prefix]:
    """The prefixes of symbols, each given with the one that is shorter by a symbol."""
    new = {symbols: prefix for symbols, prefix in longer if symbols not in state.known}
    made = state.prefixes.extend([(prefix, symbols[-1]) for symbols, prefix in new.items()])
    state.known.update(zip(new, made, strict=True))
    return [state.known[symbols] for symbols, _ in longer]


def _front(state: _Search, best: float) -> list[_Course]:
    """Take the best of the shortest courses, after leaving out what fell behind."""
    rules = state.rules
    # A course falls behind those that are at least as long and still open: others may have led nowhere.
    for key, course in sorted(state.open.items(), key=lambda each: -len(each[0][0])):
        score = course.score(rules)
        if score < best - rules.near:
            del state.open[key]
        elif not course.unread[1:]:  # of a word's later tokens the cost is not known yet
            best = max(best, score)
    front: list[_Course] = []
    while state.open and not front:
        shortest = min(len(key[0]) for key in state.open)
        near = [(key, course) for key, course in state.open.items() if len(key[0]) < shortest + rules.reach]
        near.sort(key=lambda each: -each[1].score(rules))
        for key, course in near:
            # As many of each length as fit a beam, in all rounds together.
            place = len(key[0]) // rules.reach
            state.read += [0] * (place + 1 - len(state.read))
            if state.read[place] >= 2 * rules.beam:
                del state.open[key]
            elif len(front) < rules.beam:
                state.read[place] += 1
                front.append(course)
                del state.open[key]
    return front


def _read(state: _Search, front: Sequence[_Course]) -> np.ndarray:
    """Have the language model read new tokens; return (courses, vocabulary) log probabilities."""
    held = state.cache.lengths[0]
    count = sum(len(course.unread) for course in front)
    seen = torch.zeros(count, held + count, dtype=torch.bool)
    seen[:, : state.base] = True
    positions: list[int] = []
    ids: list[int] = []
    last: list[int] = []
    for course in front:
        for token in course.unread:
            row = len(ids)
            positions.append(state.base + len(course.slots))
            course.slots = (*course.slots, held + row)
            seen[row, list(course.slots)] = True
            ids.append(token)
        last.append(len(ids) - 1)
    device = state.model.device
    branches = Branches(torch.tensor(positions, device=device), seen.to(device))
    shares = _log_shares(
        state.model(torch.tensor([ids], device=device), cache=state.cache, branches=branches)[0]
    )
    row = 0
    for course in front:
        for place, token in enumerate(course.unread[1:]):
            course.language += float(shares[row + place][token])
        row += len(course.unread)
        course.unread = ()
    out: np.ndarray = shares[last]
    return out
