"""How likely a language model finds texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from stepaudio.lm.cache import KVCache
    from stepaudio.lm.model import DecoderLM


@torch.inference_mode()
def log_likelihoods(model: "DecoderLM", before: Sequence[int], rows: Sequence[Sequence[int]]) -> list[float]:
    """The logarithm of the probability of each row of ids behind `before`, which is read once.

    Args:
        model: reads.
        before: at least one id.
        rows: none is empty.
    """
    device = model.device
    longest = max(map(len, rows))
    cache = model.new_cache(capacity=len(before) + longest)
    if len(before) > 1:
        model.hidden(torch.tensor([before[:-1]], device=device), cache=cache)
    cache.select([0] * len(rows))
    # Padded behind, where a causal model does not look.
    ids = torch.zeros(len(rows), longest, dtype=torch.int64, device=device)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = torch.tensor([before[-1], *row[:-1]])
    hidden = model.hidden(ids, cache=cache)
    out = []
    for line, row in zip(hidden, rows, strict=True):
        logits = model.head(line[: len(row)]).float()
        out.append(-float(F.cross_entropy(logits, torch.tensor(row, device=device), reduction="sum")))
    return out


@dataclass(eq=False)
class Contexts:
    """Texts that a language model has read, and each of which something may go on.

    Attributes:
        model: has read them.
        rows: their ids.
        cache: all but the last id of each.
    """

    model: "DecoderLM"
    rows: tuple[tuple[int, ...], ...]
    cache: "KVCache"


@torch.inference_mode()
def read_contexts(model: "DecoderLM", rows: Sequence[Sequence[int]]) -> Contexts:
    """Read texts of two ids or more, together."""
    longest = max(map(len, rows)) - 1
    ids = torch.zeros(len(rows), longest, dtype=torch.int64, device=model.device)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for place, row in enumerate(rows):
        ids[place, : len(row) - 1] = torch.tensor(row[:-1])
        mask[place, : len(row) - 1] = True
    cache = model.new_cache(len(rows), capacity=longest)
    model.hidden(ids, cache=cache, mask=mask)
    return Contexts(model, tuple(map(tuple, rows)), cache)


@torch.inference_mode()
def likelihoods_in(contexts: Contexts, ids: Sequence[int]) -> list[float]:
    """The logarithm of the probability of one row of ids, at least one, behind each of the contexts."""
    model, cache = contexts.model, contexts.cache
    new = torch.tensor([[row[-1], *ids[:-1]] for row in contexts.rows], device=model.device)
    hidden = model.hidden(new, cache=cache)
    cache.truncate([len(row) - 1 for row in contexts.rows])
    wanted = torch.tensor([list(ids)] * len(new), device=model.device)
    losses = F.cross_entropy(model.head(hidden).float().transpose(1, 2), wanted, reduction="none")
    return (-losses.sum(1)).tolist()
