"""A small reader of GGUF files (version 2 and 3): metadata and the block types that nano's mind uses."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stepaudio.errors import ModelError
from stepaudio.lm.blocks import BLOCK, Blocks4, Blocks8, Weight, pack4

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_F32, _F16, _Q4_1, _Q8_0 = 0, 1, 3, 8
_BLOCK_BYTES = {_Q4_1: 20, _Q8_0: 34}
_MAX_ITEMS = 1 << 24  # a forged count must not eat the memory


@dataclass(frozen=True, eq=False)
class GGUF:
    """What a file holds.

    Attributes:
        metadata: keys such as ``llama.block_count`` and ``tokenizer.ggml.tokens``.
        weights: by the file's own tensor names, rows first.
    """

    metadata: dict[str, Any]
    weights: dict[str, Weight]


def read_gguf(path: Path) -> GGUF:
    """Read a whole file.

    Raises:
        ModelError: not GGUF, truncated, or of a block type that is not read here.
    """
    data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.zeros(0, np.uint8)
    reader = _Reader(path, data)
    if reader.take(4) != b"GGUF" or reader.scalar("I") not in (2, 3):
        raise ModelError(f"{path}: not a GGUF file of version 2 or 3")
    tensors, keys = reader.count(), reader.count()
    metadata = {reader.string(): reader.value(reader.scalar("I")) for _ in range(keys)}
    entries = [reader.entry() for _ in range(tensors)]
    alignment = int(metadata.get("general.alignment", 32))
    start = -(-reader.at // alignment) * alignment
    return GGUF(metadata, dict(reader.weights(entries, start)))


class _Reader:
    def __init__(self, path: Path, data: np.ndarray) -> None:
        self._path, self._data, self.at = path, data, 0

    def take(self, size: int, at: int | None = None) -> bytes:
        begin = self.at if at is None else at
        if begin + size > len(self._data):
            raise ModelError(f"{self._path}: the GGUF file is truncated")
        if at is None:
            self.at += size
        return self._data[begin : begin + size].tobytes()

    def scalar(self, kind: str) -> Any:
        return struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0]

    def count(self) -> int:
        number = int(self.scalar("Q"))
        if number > _MAX_ITEMS:
            raise ModelError(f"{self._path}: the GGUF file claims {number} items")
        return number

    def string(self) -> str:
        return self.take(self.count()).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, length = self.scalar("I"), self.count()
            return [self.value(inner) for _ in range(length)]
        if kind not in _SCALARS:
            raise ModelError(f"{self._path}: unknown GGUF value type {kind}")
        return self.scalar(_SCALARS[kind])

    def entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string()
        shape = tuple(self.scalar("Q") for _ in range(min(self.scalar("I"), 4)))
        return name, shape[::-1], self.scalar("I"), self.scalar("Q")

    def weights(
        self, entries: list[tuple[str, tuple[int, ...], int, int]], start: int
    ) -> Iterator[tuple[str, Weight]]:
        for name, shape, kind, offset in entries:
            count = int(np.prod(shape, dtype=np.uint64))
            if kind in (_F32, _F16):
                dtype = np.dtype("<f4" if kind == _F32 else "<f2")
                raw = self.take(count * dtype.itemsize, start + offset)
                yield name, torch.from_numpy(np.frombuffer(raw, dtype).copy()).view(*shape)
                continue
            if kind not in _BLOCK_BYTES:
                raise ModelError(f"{self._path}: {name} has GGUF block type {kind}, which is not read here")
            if len(shape) != 2 or shape[1] % BLOCK:
                raise ModelError(f"{self._path}: {name} has the shape {shape}, not whole blocks")
            raw = self.take(count // BLOCK * _BLOCK_BYTES[kind], start + offset)
            blocks = np.frombuffer(raw, np.uint8).reshape(shape[0], -1, _BLOCK_BYTES[kind])
            yield name, _q4_1(blocks) if kind == _Q4_1 else _q8_0(blocks)


def _halves(blocks: np.ndarray, first: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(blocks[..., first : first + 2]).view("<f2")[..., 0].copy())


def _q4_1(blocks: np.ndarray) -> Blocks4:
    """Scale, minimum, then 16 bytes whose low nibbles are the first 16 values and high nibbles the rest."""
    quants = torch.from_numpy(blocks[..., 4:].copy())
    codes = torch.cat((quants & 15, quants >> 4), -1).flatten(1)
    return Blocks4(pack4(codes), _halves(blocks, 0), _halves(blocks, 2))


def _q8_0(blocks: np.ndarray) -> Blocks8:
    codes = torch.from_numpy(np.ascontiguousarray(blocks[..., 2:]).view(np.int8).copy())
    return Blocks8(codes.flatten(1), _halves(blocks, 0))
