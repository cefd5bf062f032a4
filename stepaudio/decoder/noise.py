"""The noise that flow matching starts from, addressed by frame so that every chunking sees the same."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stepaudio.errors import InputError

BLOCK = 64  # frames that one generator makes


class NoiseSource(Protocol):
    """Gives the noise of a stretch of frames."""

    def frames(self, start: int, length: int) -> Tensor:
        """Noise (1 or batch, channels, length) of the frames from `start` on, float32 on the CPU."""
        ...


@dataclass(frozen=True)
class SeededNoise:
    """Standard normal noise that depends on the seed and the frame only.

    The same on every device and for every chunking; nothing is kept, any length is available.
    """

    seed: int
    channels: int

    def frames(self, start: int, length: int) -> Tensor:
        """Noise (1, channels, length) of the frames from `start` on."""
        first, last = start // BLOCK, (start + max(length, 1) - 1) // BLOCK
        blocks = torch.cat([self._block(index) for index in range(first, last + 1)], 1)
        offset = start - first * BLOCK
        return blocks[None, :, offset : offset + length]

    def _block(self, index: int) -> Tensor:
        digest = hashlib.blake2b(f"{self.seed}:{index}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        return torch.randn(self.channels, BLOCK, generator=generator)


@dataclass(frozen=True, eq=False)
class FixedNoise:
    """Noise given as a tensor (1 or batch, channels, frames), for comparison with other implementations."""

    values: Tensor

    def frames(self, start: int, length: int) -> Tensor:
        """The stretch of the tensor; an error where it is too short."""
        if start + length > self.values.shape[2]:
            raise InputError(
                f"the noise has {self.values.shape[2]} frames, frames {start} to {start + length} are wanted"
            )
        return self.values[:, :, start : start + length]
