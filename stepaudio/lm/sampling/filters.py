"""Rules on logits alone, float32 ``(batch, vocab)``: dropped ids get -inf, the best always stays."""

import math

import torch
from torch import Tensor

_HEAD = 256  # ids looked at first; a whole vocabulary is sorted only when these do not settle it


def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide by `value` (> 0): above 1 flattens, below 1 sharpens."""
    return logits if value == 1 else logits / value


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` best ids of each row, and those tied with the last of them; 0 keeps all."""
    if not 0 < k < logits.shape[-1]:
        return logits
    threshold = logits.topk(k, -1).values[..., -1:]
    return logits.masked_fill(logits < threshold, -math.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest best ids whose probabilities reach `p`, and ties (Holtzman et al. 2020)."""
    if p >= 1:
        return logits
    total = logits.logsumexp(-1, keepdim=True)
    best = logits.topk(min(_HEAD, logits.shape[-1]), -1).values
    reached = (best - total).exp().cumsum(-1)
    if best.shape[-1] < logits.shape[-1] and bool((reached[..., -1] < p).any()):
        best = logits.sort(-1, descending=True).values
        reached = (best - total).exp().cumsum(-1)
    # An id stays when those before it do not reach p yet; the first always does.
    count = (reached < p).sum(-1, keepdim=True).clamp(max=best.shape[-1] - 1)
    return logits.masked_fill(logits < best.gather(-1, count), -math.inf)


def min_p(logits: Tensor, share: float) -> Tensor:
    """Drop ids less likely than `share` times the best one (Nguyen et al. 2024)."""
    if share <= 0:
        return logits
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(share), -math.inf)


def draw(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one id a row, int64 ``(batch,)``."""
    return torch.multinomial(torch.softmax(logits, -1), 1, generator=generator)[:, 0]
