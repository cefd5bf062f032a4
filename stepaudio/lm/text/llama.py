"""SentencePiece as Llama's tokenizer uses it (Step-Audio-Chat, Step-Audio-TTS-3B)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepaudio.errors import ModelError
from stepaudio.lm.text.protocol import check_range

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

SPACE = "▁"
# Field 3 of the model (normalizer) with its field 3 (add_dummy_prefix) off: appended to a serialised protocol
# buffer it overrides what stands before, so no protobuf package is needed.
_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"


@dataclass(frozen=True)
class LlamaRules:
    """What surrounds SentencePiece in a Llama tokenizer.

    Attributes:
        add_bos: put the BOS id in front of every encoded text.
        legacy: the old rule: the model's own dummy prefix in front of every stretch between special tokens.
            The new rule puts one blank in front of the whole text, and none when a special token comes first.
        specials: strings that are cut out of the text before SentencePiece sees it.
    """

    add_bos: bool = True
    legacy: bool = True
    specials: tuple[str, ...] = ("<s>", "</s>", "<unk>")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LlamaRules":
        """Read ``tokenizer_config.json``; what it does not say keeps the Llama tokenizer's own defaults."""
        named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None}
        specials = [_content(config.get(key, default)) for key, default in named.items()]
        specials += [_content(item) for item in config.get("additional_special_tokens") or ()]
        specials += [_content(item) for item in (config.get("added_tokens_decoder") or {}).values()]
        legacy = config.get("legacy")
        return cls(
            add_bos=bool(config.get("add_bos_token", cls.add_bos)),
            legacy=cls.legacy if legacy is None else bool(legacy),
            specials=tuple(dict.fromkeys(item for item in specials if item)),
        )


class SentencePieceText:
    """A SentencePiece model under Llama's rules (``tokenizer.model``).

    Args:
        model: path of the model.
        rules: what surrounds it; state it, or read it with ``LlamaRules.from_config``.
    """

    def __init__(self, model: Path, rules: LlamaRules):
        self.model = model
        self.rules = rules

    @cached_property
    def _processor(self) -> "SentencePieceProcessor":
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            reason = "this tokenizer needs sentencepiece: pip install 'stepaudio[official]'"
            raise ModelError(f"{self.model}: {reason}") from None
        try:
            blob = self.model.read_bytes()
        except OSError as error:
            raise ModelError(f"{self.model}: cannot be read ({error.strerror})") from None
        try:
            return SentencePieceProcessor(model_proto=blob if self.rules.legacy else blob + _NO_DUMMY_PREFIX)
        except (RuntimeError, OSError, ValueError):
            raise ModelError(f"{self.model}: not a SentencePiece model") from None

    @cached_property
    def _specials(self) -> dict[str, int]:
        known = ((item, self._find(item)) for item in self.rules.specials)
        return {item: found for item, found in known if found is not None}

    @cached_property
    def _cut(self) -> re.Pattern[str] | None:
        longest_first = sorted(self._specials, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, BOS first when the rules say so."""
        ids = [self.token_id("<s>")] if self.rules.add_bos else []
        if not text:
            return ids
        if not self.rules.legacy:
            text = SPACE + text.replace(SPACE, " ")
        stretches = [item for item in (self._cut.split(text) if self._cut else [text]) if item]
        for index, stretch in enumerate(stretches):
            if stretch in self._specials:
                ids.append(self._specials[stretch])
            elif not (index == 0 and stretch == SPACE and len(stretches) > 1 and not self.rules.legacy):
                ids.extend(self._stretch(stretch))
        return ids

    def _stretch(self, text: str) -> list[int]:
        encode = self._processor.encode_as_ids
        if self.rules.legacy or not text.startswith((SPACE, " ")):
            return list(encode(text))
        # A leading blank would be eaten by the normaliser; behind a word it stays.
        guard = "<unk>"
        return list(encode(guard + text))[len(encode(guard)) :]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of `ids`."""
        check_range(ids, self.vocab_size)
        strings = {number: item for item, number in self._specials.items()}
        text, run = "", list[int]()
        for token in ids:
            if token not in strings and not self._processor.is_control(token):
                run.append(token)
                continue
            text += self._processor.decode_ids(run)
            run = []
            text += "" if skip_special else self._processor.id_to_piece(token)
        text += self._processor.decode_ids(run)
        first = next((token for token in ids if token not in strings), None)
        if (
            not self.rules.legacy
            and first is not None
            and self._processor.id_to_piece(first).startswith(SPACE)
        ):
            return text.removeprefix(" ")
        return text

    def token_id(self, piece: str) -> int:
        """Return the id of `piece`."""
        found = self._find(piece)
        if found is None:
            raise ModelError(f"{self.model}: no piece {piece!r} in the vocabulary")
        return found

    def _find(self, piece: str) -> int | None:
        found = int(self._processor.piece_to_id(piece))
        return found if self._processor.id_to_piece(found) == piece else None


def _content(item: Any) -> str | None:
    return item.get("content") if isinstance(item, dict) else item
