"""Weights in blocks: 4 or 8 bits a value with a scale (and offset) for every 32 along a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepaudio.errors import ModelError

BLOCK = 32  # values that share a scale, along the input axis


@dataclass(frozen=True, eq=False)
class Blocks4:
    """A matrix of 4-bit values: ``code * scale + minimum``.

    Attributes:
        packed: uint8 ``(rows, columns / 2)``; the low nibble is the even column.
        scale: float16 ``(rows, columns / 32)``.
        minimum: float16, the same shape.
    """

    packed: Tensor
    scale: Tensor
    minimum: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.packed.shape[0], 2 * self.packed.shape[1]

    def codes(self) -> Tensor:
        """Return the codes 0..15, uint8 ``(rows, columns)``."""
        return torch.stack((self.packed & 15, self.packed >> 4), -1).flatten(1)

    def dequantise(self) -> Tensor:
        """Return the float32 matrix."""
        codes = self.codes().view(len(self.packed), -1, BLOCK).float()
        return (codes * self.scale.float()[..., None] + self.minimum.float()[..., None]).flatten(1)

    def tensors(self) -> dict[str, Tensor]:
        """Return what is stored, by suffix."""
        return {"q4": self.packed, "scale": self.scale, "minimum": self.minimum}


@dataclass(frozen=True, eq=False)
class Blocks8:
    """A matrix of 8-bit values: ``code * scale``.

    Attributes:
        codes: int8 ``(rows, columns)``.
        scale: float16 ``(rows, columns / 32)``.
    """

    codes: Tensor
    scale: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.codes.shape[0], self.codes.shape[1]

    def dequantise(self) -> Tensor:
        """Return the float32 matrix."""
        codes = self.codes.view(len(self.codes), -1, BLOCK).float()
        return (codes * self.scale.float()[..., None]).flatten(1)

    def tensors(self) -> dict[str, Tensor]:
        """Return what is stored, by suffix."""
        return {"q8": self.codes, "scale": self.scale}


Weight = Tensor | Blocks4 | Blocks8


def pack4(codes: Tensor) -> Tensor:
    """Pack codes 0..15, uint8 ``(rows, columns)``, two to a byte."""
    return codes[:, 0::2] | codes[:, 1::2] << 4


def quantise4(weight: Tensor) -> Blocks4:
    """Round a float matrix to 4 bits, each block from its least to its greatest value.

    Raises:
        ModelError: the row length is no multiple of 32.
    """
    rows, columns = weight.shape
    if columns % BLOCK:
        raise ModelError(f"a matrix of {columns} columns cannot be cut into blocks of {BLOCK}")
    blocks = weight.float().view(rows, -1, BLOCK)
    low, high = blocks.amin(-1), blocks.amax(-1)
    scale, minimum = ((high - low) / 15).half(), low.half()
    step = scale.float().clamp(min=1e-8)[..., None]
    codes = ((blocks - minimum.float()[..., None]) / step).round().clamp(0, 15).to(torch.uint8)
    return Blocks4(pack4(codes.flatten(1)), scale, minimum)


def quantise8(weight: Tensor) -> Blocks8:
    """Round a float matrix to 8 bits, symmetric in each block; raises like :func:`quantise4`."""
    rows, columns = weight.shape
    if columns % BLOCK:
        raise ModelError(f"a matrix of {columns} columns cannot be cut into blocks of {BLOCK}")
    blocks = weight.float().view(rows, -1, BLOCK)
    scale = (blocks.abs().amax(-1) / 127).half()
    step = scale.float().clamp(min=1e-8)[..., None]
    return Blocks8((blocks / step).round().clamp(-127, 127).to(torch.int8).flatten(1), scale)


def dequantise(weight: Weight) -> Tensor:
    """Return the float matrix of any stored weight; a plain tensor passes."""
    return weight if isinstance(weight, Tensor) else weight.dequantise()


def stack(weights: Sequence[Blocks4]) -> Blocks4:
    """Put matrices of equal width above each other (fused projections)."""
    return Blocks4(
        torch.cat([w.packed for w in weights]),
        torch.cat([w.scale for w in weights]),
        torch.cat([w.minimum for w in weights]),
    )


def to_tensors(weights: Mapping[str, Weight]) -> dict[str, Tensor]:
    """Return the plain tensors that a file stores for `weights`: ``name.q4``, ``name.scale``."""
    out: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if isinstance(weight, Tensor):
            out[name] = weight
        else:
            out.update({f"{name}.{suffix}": tensor for suffix, tensor in weight.tensors().items()})
    return {name: tensor.contiguous() for name, tensor in out.items()}


def from_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Weight]:
    """Undo :func:`to_tensors`.

    Raises:
        ModelError: parts of a matrix are missing or do not fit together.
    """
    out: dict[str, Weight] = {}
    used: set[str] = set()
    for name in tensors:
        base, _, suffix = name.rpartition(".")
        if suffix not in {"q4", "q8"}:
            continue
        parts = [f"{base}.{part}" for part in (suffix, "scale", *(["minimum"] if suffix == "q4" else []))]
        if missing := [part for part in parts if part not in tensors]:
            raise ModelError(f"weights lack {missing[0]}")
        first, *rest = (tensors[part] for part in parts)
        columns = first.shape[1] * (2 if suffix == "q4" else 1)
        if any(t.shape != (first.shape[0], columns // BLOCK) for t in rest) or columns % BLOCK:
            raise ModelError(f"{base}: codes and scales do not fit together")
        out[base] = Blocks4(first, *rest) if suffix == "q4" else Blocks8(first, *rest)
        used.update(parts)
    out.update({name: tensor for name, tensor in tensors.items() if name not in used})
    return out
