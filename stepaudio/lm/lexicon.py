"""Words as they sound, and as the language model writes them: what may be heard next.

A tree over the symbols of all words; a language model's tokens for a word hang where the word ends.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepaudio.errors import ModelError
from stepaudio.lm.text import TextTokenizer


@dataclass(frozen=True, eq=False)
class Word:
    """A way to write what was heard.

    Attributes:
        text: without blanks.
        ids: of the language model, with the blank before it.
        first_ids: the same where nothing stands before it.
    """

    text: str
    ids: tuple[int, ...]
    first_ids: tuple[int, ...]


class Lexicon:
    """A tree of the words; node 0 is its root.

    Args:
        sounds: the symbols of each word; symbols are characters.
        symbols: all of them; a symbol's id is its place plus one.
        tokenizer: of the language model.

    Raises:
        ModelError: a word with a symbol that is not among them, or no words.
    """

    def __init__(self, sounds: Mapping[str, str], symbols: str, tokenizer: TextTokenizer) -> None:
        self.symbols, self._tokenizer = symbols, tokenizer
        ids = {symbol: place + 1 for place, symbol in enumerate(symbols)}
        self._size = len(symbols) + 1
        edges: dict[int, int] = {}
        ends: list[list[str]] = [[]]
        for word, sound in sounds.items():
            node = 0
            for symbol in sound:
                if symbol not in ids:
                    raise ModelError(f"the lexicon's word {word!r} has a sound that is unknown: {symbol!r}")
                edge = node * self._size + ids[symbol]
                if edge not in edges:
                    edges[edge] = len(ends)
                    ends.append([])
                node = edges[edge]
            if node:
                ends[node].append(word)
        if not edges:
            raise ModelError("the lexicon holds no words")
        order = sorted(edges)
        self._edges = np.array(order, np.int64)
        self._children = np.array([edges[edge] for edge in order], np.int32)
        self._ends = ends
        self._written: dict[int, tuple[Word, ...]] = {}

    def children(self, nodes: Sequence[int]) -> np.ndarray:
        """Return (nodes, symbols + 1) int32: the child of each node by each symbol, 0 where there is none."""
        wanted = np.asarray(nodes, np.int64)[:, None] * self._size + np.arange(self._size)
        places = np.minimum(np.searchsorted(self._edges, wanted), len(self._edges) - 1)
        return np.where(self._edges[places] == wanted, self._children[places], 0)

    def words(self, node: int) -> tuple[Word, ...]:
        """Return what can be written for the sounds up to a node: each word in lower case and as a name."""
        found = self._written.get(node)
        if found is None:
            texts = [form for word in self._ends[node] for form in dict.fromkeys((word, _as_name(word)))]
            found = tuple(self._word(text) for text in texts)
            self._written[node] = found
        return found

    def _word(self, text: str) -> Word:
        encode = self._tokenizer.encode
        return Word(text, tuple(encode(" " + text)), tuple(encode(text)))


def _as_name(word: str) -> str:
    return word[:1].upper() + word[1:]


def read_lexicon(path: Path) -> dict[str, str]:
    """Read a file of lines ``word<TAB>sounds``.

    Raises:
        ModelError: it does not read so.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
        return dict(_pair(line) for line in lines if line)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a lexicon ({error})") from None


def _pair(line: str) -> tuple[str, str]:
    word, tab, sounds = line.partition("\t")
    if not (word and tab and sounds):
        raise ValueError(f"a line without a word and its sounds: {line[:40]!r}")
    return word, sounds


def write_lexicon(sounds: Mapping[str, str], path: Path) -> None:
    """Write what `read_lexicon` reads, in the order of the alphabet."""
    path.write_text("".join(f"{word}\t{sounds[word]}\n" for word in sorted(sounds)), "utf-8")


def words_of(texts: Iterable[str]) -> set[str]:
    """Return the words of texts, in lower case."""
    found: set[str] = set()
    for text in texts:
        found.update(re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower().replace("’", "'")))
    return found
