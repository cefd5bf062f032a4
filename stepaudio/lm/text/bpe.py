"""Byte-level BPE (Qwen, SmolLM): Step-Audio 2 and nano."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.errors import ModelError
from stepaudio.lm.text.files import read_json, read_text
from stepaudio.lm.text.protocol import check_range

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# How Qwen2 cuts text into words before the byte-level merges.
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Not special in Qwen: they stay in decoded text, where tool calls and thoughts are read.
_PLAIN = frozenset({"<tool_call>", "</tool_call>", "<think>", "</think>"})


class BpeText:
    """A byte-level BPE tokenizer: ``tokenizer.json``, or vocabulary, merges and added tokens."""

    def __init__(self, tokenizer: "Tokenizer", name: str = "tokenizer"):
        self._tokenizer = tokenizer
        self.name = name
        self._size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @classmethod
    def from_file(cls, path: Path) -> "BpeText":
        """Load a ``tokenizer.json``.

        Raises:
            ModelError: missing, or not such a file.
        """
        from tokenizers import Tokenizer

        read_text(path)
        try:
            return cls(Tokenizer.from_file(str(path)), str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path}: not a tokenizer ({str(error).splitlines()[0]})") from None

    @classmethod
    def from_qwen_files(cls, folder: Path) -> "BpeText":
        """Build Qwen2's tokenizer from ``vocab.json``, ``merges.txt`` and the added tokens beside them.

        Added tokens come from ``tokenizer_config.json`` (with their flags) or else ``added_tokens.json``;
        each keeps exactly its id.

        Raises:
            ModelError: a file is missing or malformed, or two tokens claim one id.
        """
        from tokenizers.models import BPE

        from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers

        vocabulary = _id_map(folder / "vocab.json")
        added = _added_tokens(folder)
        taken = {number: item for item, number in vocabulary.items()}
        for number, (content, _) in added.items():
            if taken.setdefault(number, content) != content:
                raise ModelError(f"{folder}: id {number} is both {taken[number]!r} and {content!r}")
            # In the vocabulary itself a token keeps its id even where ids have gaps.
            vocabulary[content] = number
        merges = [
            tuple(line.split(" "))
            for line in read_text(folder / "merges.txt").splitlines()
            if line and not line.startswith("#version")
        ]
        try:
            tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges))  # type: ignore[arg-type]
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{folder}: vocabulary and merges do not fit ({error})") from None
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_QWEN_WORDS), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        for special in (True, False):
            tokens = [
                AddedToken(c, normalized=False, special=special) for c, s in added.values() if s is special
            ]
            (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(tokens)
        return cls(tokenizer, str(folder))

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return self._size

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; nothing is put in front or behind."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of `ids`."""
        check_range(ids, self._size)
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special))

    def token_id(self, piece: str) -> int:
        """Return the id of `piece`."""
        found = self._tokenizer.token_to_id(piece)
        if found is None:
            raise ModelError(f"{self.name}: no token {piece!r} in the vocabulary")
        return int(found)


def _id_map(path: Path) -> dict[str, int]:
    value = read_json(path)
    if not all(isinstance(number, int) and number >= 0 for number in value.values()):
        raise ModelError(f"{path}: every token needs a non-negative integer id")
    return value


def _added_tokens(folder: Path) -> dict[int, tuple[str, bool]]:
    """Return id -> (string, special)."""
    out: dict[int, tuple[str, bool]] = {}
    if (folder / "added_tokens.json").is_file():
        out = {
            number: (item, item not in _PLAIN)
            for item, number in _id_map(folder / "added_tokens.json").items()
        }
    if (folder / "tokenizer_config.json").is_file():
        decoder = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
        try:
            flagged = {int(number): item for number, item in decoder.items()}
            out |= {n: (str(item["content"]), bool(item.get("special"))) for n, item in flagged.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ModelError(
                f"{folder}: added_tokens_decoder in tokenizer_config.json is malformed"
            ) from None
    return dict(sorted(out.items()))
