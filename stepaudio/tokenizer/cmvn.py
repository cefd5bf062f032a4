"""Mean and variance normalisation from a Kaldi text file (``am.mvn``)."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from stepaudio.errors import ModelError


@dataclass(frozen=True, eq=False)
class Cmvn:
    """``(x + shift) * scale`` on the last axis; both float32, (size,)."""

    shift: Tensor
    scale: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Normalise ``rows`` (..., size)."""
        return (rows + self.shift) * self.scale

    def to(self, device: torch.device | str) -> "Cmvn":
        """The same on another device."""
        return Cmvn(self.shift.to(device), self.scale.to(device))


def read_cmvn(text: str, *, where: str = "am.mvn") -> Cmvn:
    """Read the vectors that follow ``<AddShift>`` and ``<Rescale>``.

    Raises:
        ModelError: if one of them is missing, not numeric, or of another length than the other.
    """
    shift, scale = (_vector(text, tag, where) for tag in ("<AddShift>", "<Rescale>"))
    if len(shift) != len(scale):
        raise ModelError(f"{where}: <AddShift> has {len(shift)} numbers, <Rescale> {len(scale)}")
    return Cmvn(torch.tensor(shift, dtype=torch.float32), torch.tensor(scale, dtype=torch.float32))


def _vector(text: str, tag: str, where: str) -> list[float]:
    found = re.search(re.escape(tag) + r"[^\n]*\n[^\[\n]*\[([^\]]*)\]", text)
    if found is None:
        raise ModelError(f"{where}: no vector after {tag}")
    try:
        return [float(number) for number in found[1].split()]
    except ValueError:
        raise ModelError(f"{where}: the vector after {tag} holds something that is not a number") from None
