"""Finite scalar quantisation: a code is a few digits of a few levels each, so every code is in reach.

Source: F. Mentzer et al., "Finite scalar quantization: VQ-VAE made simple" (2023). The bins are equal parts
of a sigmoid here, so that even numbers of levels need no offset.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FSQ(nn.Module):
    """A codebook without parameters.

    Args:
        levels: of each digit, the first digit weighing most in the code.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.size = math.prod(levels)
        self.width = len(levels)
        places = [math.prod(levels[at + 1 :]) for at in range(len(levels))]
        self.levels: Tensor
        self.places: Tensor
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, x: Tensor, jitter: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Quantise, with the gradient going straight through.

        Args:
            x: (..., digits), any real values.
            jitter: added in units of a level before rounding, so that training meets wrong digits nearby.

        Returns:
            Values (..., digits) in -1..1, and codes (...).
        """
        # In float32: a bin's edge must not depend on autocast.
        x = x.float()
        soft = torch.sigmoid(x) * self.levels - 0.5
        if jitter is not None:
            soft = soft + jitter
        digits = torch.minimum(soft.round().clamp(min=0), self.levels - 1.0)
        passed = soft + (digits - soft).detach()
        return passed / (self.levels - 1) * 2 - 1, (digits.long() * self.places).sum(-1)

    def digits(self, codes: Tensor) -> Tensor:
        """Codes (...) to digits (..., digits), integers from 0."""
        return codes[..., None] // self.places % self.levels

    def values(self, codes: Tensor) -> Tensor:
        """Codes (...) to the values (..., digits) in -1..1 that a decoder takes."""
        return self.digits(codes).float() / (self.levels - 1) * 2 - 1

    def codes(self, digits: Tensor) -> Tensor:
        """Digits (..., digits) to codes (...)."""
        return (digits * self.places).sum(-1)
