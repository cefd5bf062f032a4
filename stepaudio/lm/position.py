"""How a token knows where it stands: rotary embeddings, square-root ALiBi, and the causal mask."""

import math

import torch
from torch import Tensor


def alibi_slopes(heads: int) -> Tensor:
    """Return the slope of each head, float32 ``(heads,)``.

    The largest power of two not above `heads` gives the first slopes, odd steps between them the rest (the
    usual ALiBi rule, Press et al. 2022; Step-Audio's modelling code).
    """
    whole = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8.0 * k / whole) for k in range(1, whole + 1)]
    slopes += [2.0 ** (-4.0 * (2 * m - 1) / whole) for m in range(1, heads - whole + 1)]
    return torch.tensor(slopes, dtype=torch.float32)


def rope_tables(head_dim: int, theta: float, length: int) -> tuple[Tensor, Tensor]:
    """Return cosines and signed sines, float32 ``(length, head_dim)``, for :func:`rotate`.

    The first half of the sines is negated, so that swapping a head's halves is all the rotation needs.
    """
    inverse = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), inverse).float()
    return torch.cat((angles.cos(), angles.cos()), 1), torch.cat((-angles.sin(), angles.sin()), 1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn every head of `x` (..., head_dim) by its position (RoFormer; halves as in Llama, Qwen2)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def sqrt_alibi(slopes: Tensor, distance: Tensor) -> Tensor:
    """Return the bias ``-slope * sqrt(distance)``, ``(..., heads, queries, keys)``; a future key gets -inf.

    Args:
        slopes: ``(heads,)``.
        distance: query position minus key position, ``(..., queries, keys)``; negative is the future.
    """
    root = distance.clamp(min=0).to(slopes.dtype).sqrt()
    root = root.masked_fill(distance < 0, math.inf)
    return -slopes[:, None, None] * root.unsqueeze(-3)
