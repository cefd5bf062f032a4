"""Interpolating length regulator: from the rate of the codes to the rate of the frames."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.config import RegulatorConfig


class LengthRegulator(nn.Module):
    """Linear interpolation of each segment to its number of frames, then convolutions over the whole.

    The prompt is a segment of its own, so its codes are stretched to exactly its frames.
    """

    def __init__(self, channels: int, config: RegulatorConfig) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for _ in range(config.stages):
            stages += [nn.Conv1d(channels, channels, 3, padding=1), nn.GroupNorm(1, channels), nn.Mish()]
        self.model = nn.Sequential(*stages, nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor, segments: Sequence[tuple[int, int]]) -> Tensor:
        """Stretch (batch, codes, channels) to (batch, frames, channels).

        Args:
            x: projected encoder output.
            segments: (codes, frames) of each stretch, in order; empty ones are skipped.
        """
        parts = x.transpose(1, 2).split([codes for codes, _ in segments], 2)
        stretched = [
            F.interpolate(part, size=frames, mode="linear")
            for part, (codes, frames) in zip(parts, segments, strict=True)
            if codes and frames
        ]
        out: Tensor = self.model(torch.cat(stretched, 2)).transpose(1, 2)
        return out

    def batch(self, x: Tensor, codes: Sequence[int], frames: Sequence[int]) -> Tensor:
        """Stretch a padded training batch, each item from its codes to its frames, zeros behind the ends."""
        longest = max(frames)
        stretched = [
            F.pad(F.interpolate(item[None, :, :short], size=size, mode="linear"), (0, longest - size))
            for item, short, size in zip(x.transpose(1, 2), codes, frames, strict=True)
        ]
        out: Tensor = self.model(torch.cat(stretched)).transpose(1, 2)
        return out
