"""What a text tokenizer can do."""

from collections.abc import Sequence
from typing import Protocol

from stepaudio.errors import InputError


class TextTokenizer(Protocol):
    """Text to ids and back."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; special-token strings in it become their ids."""
        ...

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of `ids`; raises `InputError` for an id outside the vocabulary."""
        ...

    def token_id(self, piece: str) -> int:
        """Return the id of exactly this piece; raises `ModelError` when there is none."""
        ...


def check_range(ids: Sequence[int], size: int) -> None:
    """Raise `InputError` for the first id outside 0..size-1."""
    bad = next((token for token in ids if not 0 <= token < size), None)
    if bad is not None:
        raise InputError(f"id {bad} is not in the vocabulary of {size}")
