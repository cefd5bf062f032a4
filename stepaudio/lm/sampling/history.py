"""Rules that look at the ids so far: float32 logits ``(vocab,)`` of one row in, a changed copy out."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

STEP_WINDOW = 10


def repetition_penalty(logits: Tensor, ids: Sequence[int], penalty: float) -> Tensor:
    """Make ids seen before less likely: positive logits divided, negative multiplied (Keskar et al. 2019)."""
    if penalty == 1 or not ids:
        return logits
    index = torch.tensor(sorted(set(ids)), device=logits.device)
    seen = logits[index]
    return logits.index_put((index,), torch.where(seen > 0, seen / penalty, seen * penalty))


def step_repetition_rule(logits: Tensor, ids: Sequence[int]) -> Tensor:
    """Forbid the last id when it is twice among the last ten, prompt included (Step-Audio)."""
    forbidden = step_forbidden(ids)
    return logits if forbidden is None else _forbid(logits, [forbidden])


def step_forbidden(ids: Sequence[int]) -> int | None:
    """Return the id that Step-Audio's rule forbids after `ids`; it acts from ten ids on."""
    if len(ids) < STEP_WINDOW:
        return None
    last = ids[-1]
    return last if list(ids[-STEP_WINDOW:]).count(last) >= 2 else None


def no_repeat_ngram(logits: Tensor, ids: Sequence[int], size: int) -> Tensor:
    """Forbid every id that would complete an n-gram of `size` ids that occurred before; 0 is off."""
    if size <= 0 or len(ids) < size:
        return logits
    tail = list(ids[len(ids) - size + 1 :])
    starts = range(len(ids) - size + 1)
    return _forbid(logits, [ids[i + size - 1] for i in starts if list(ids[i : i + size - 1]) == tail])


def _forbid(logits: Tensor, ids: Sequence[int]) -> Tensor:
    if not ids:
        return logits
    index = torch.tensor(sorted(set(ids)), device=logits.device)
    return logits.index_fill(0, index, -math.inf)
