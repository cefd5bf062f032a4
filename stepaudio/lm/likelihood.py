"""How likely a language model finds texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from stepaudio.lm.model import DecoderLM


@torch.inference_mode()
def log_likelihoods(
    model: "DecoderLM", before: Sequence[int] | Tensor, rows: Sequence[Sequence[int]]
) -> list[float]:
    """The logarithm of the probability of each row of ids behind `before`, which is read once.

    Args:
        model: reads.
        before: ids, or their embeddings (n, hidden); at least one.
        rows: none is empty.
    """
    device = model.device
    words = before if isinstance(before, Tensor) else model.embed(torch.tensor(list(before), device=device))
    longest = max(map(len, rows))
    cache = model.new_cache(capacity=len(words) + longest)
    if len(words) > 1:
        model.hidden(inputs_embeds=words[None, :-1], cache=cache)
    cache.select([0] * len(rows))
    # Padded behind, where a causal model does not look.
    ids = torch.zeros(len(rows), longest - 1, dtype=torch.int64, device=device)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row) - 1] = torch.tensor(row[:-1])
    inputs = torch.cat((words[None, -1:].expand(len(rows), -1, -1), model.embed(ids).to(words.dtype)), 1)
    hidden = model.hidden(inputs_embeds=inputs, cache=cache)
    out = []
    for line, row in zip(hidden, rows, strict=True):
        logits = model.head(line[: len(row)]).float()
        out.append(-float(F.cross_entropy(logits, torch.tensor(row, device=device), reduction="sum")))
    return out
