"""What may come now: sets of legal ids that change with the place, text here, audio codes there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from stepaudio.errors import InputError


@dataclass(frozen=True)
class IdSet:
    """Ids of one kind.

    Attributes:
        ranges: half-open ranges ``(first, end)``.
        singles: further ids.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    singles: tuple[int, ...] = ()

    def __or__(self, other: "IdSet") -> "IdSet":
        return IdSet(self.ranges + other.ranges, self.singles + other.singles)

    def __contains__(self, token: int) -> bool:
        return token in self.singles or any(first <= token < end for first, end in self.ranges)

    def mask(self, vocab_size: int) -> Tensor:
        """Return a bool mask ``(vocab_size,)``, True where legal.

        Raises:
            InputError: an id lies outside the vocabulary, or the set is empty.
        """
        mask = torch.zeros(vocab_size, dtype=torch.bool)
        for first, end in (*self.ranges, *((i, i + 1) for i in self.singles)):
            if not 0 <= first <= end <= vocab_size:
                raise InputError(f"legal ids {first}..{end - 1} lie outside the vocabulary of {vocab_size}")
            mask[first:end] = True
        if not bool(mask.any()):
            raise InputError("a set of legal ids is empty")
        return mask


@dataclass(frozen=True, eq=False)
class Phase:
    """What holds for the next id.

    Attributes:
        modality: names the kind (``text``, ``audio``, a codebook), so that each can have its own sampling.
        legal: bool mask ``(vocab,)``; ``None`` allows everything.
    """

    modality: str = "text"
    legal: Tensor | None = None


class Grammar(Protocol):
    """Says, after each id of a row, what may come next."""

    def phase(self, generated: Sequence[int]) -> Phase:
        """Return what holds after `generated` (prompt not included)."""
        ...


@dataclass(frozen=True)
class Pattern:
    """Kinds that come round in a fixed order, such as two linguistic codes and three semantic ones.

    Attributes:
        vocab_size: of the model.
        cycle: the kinds of one round, as (modality, ids).
        stop: ids that may also come at the start of a round.
    """

    vocab_size: int
    cycle: tuple[tuple[str, IdSet], ...]
    stop: IdSet = IdSet()

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of one round."""
        kinds: Iterable[tuple[str, IdSet]] = (
            (name, ids | self.stop if i == 0 else ids) for i, (name, ids) in enumerate(self.cycle)
        )
        return tuple(Phase(name, ids.mask(self.vocab_size)) for name, ids in kinds)

    def phase(self, generated: Sequence[int]) -> Phase:
        """Return the phase at this place of the round."""
        return self.phases[len(generated) % len(self.phases)]
