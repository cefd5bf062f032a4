"""The sampler: the rules in their order, one state a row: a batch draws what each row alone would."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stepaudio.errors import InputError
from stepaudio.lm.sampling import filters, history
from stepaudio.lm.sampling.config import Sampling
from stepaudio.lm.sampling.legality import Phase


@dataclass
class SamplerState:
    """What one row's sampler knows.

    Attributes:
        generator: the row's own source of chance.
        prompt: ids before the first generated one (features have none).
        generated: ids so far.
    """

    generator: torch.Generator
    prompt: list[int] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Draw:
    """One step's settings for one row."""

    sampling: Sampling
    phase: Phase


def start_sampler(
    seed: int | None = None, prompt: Sequence[int] = (), device: torch.device | str = "cpu"
) -> SamplerState:
    """Begin one row; the same `seed` gives the same ids again, ``None`` a fresh course."""
    generator = torch.Generator(device=device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return SamplerState(generator, list(prompt))


def sample(state: SamplerState, logits: Tensor, draw: Draw) -> int:
    """Choose the next id of one row and remember it.

    Args:
        state: the row's; its `generated` grows by the id.
        logits: ``(vocab,)``, any float type.
        draw: sampling and phase of this step.

    Raises:
        InputError: nothing is legal, or the logits are NaN.
    """
    row = distribution(state, logits, draw)
    if draw.sampling.temperature == 0:
        token = int(row.argmax())
    else:
        token = int(filters.draw(row[None], state.generator)[0])
    state.generated.append(token)
    return token


def distribution(state: SamplerState, logits: Tensor, draw: Draw) -> Tensor:
    """Return the float32 logits ``(vocab,)`` to draw from; illegal and dropped ids are at -inf."""
    sampling, legal = draw.sampling, draw.phase.legal
    row = logits.float()
    if legal is not None:
        row = row.masked_fill(~legal.to(row.device), -math.inf)
    best = row.max()
    if not bool(torch.isfinite(best)):
        raise InputError("no id can be drawn: the logits are not finite, or nothing is legal")
    ruled = _history_rules(state, row, sampling)
    # When the history forbids all that is legal, legality wins.
    if bool(torch.isfinite(ruled.max())):
        row = ruled
    if sampling.temperature == 0:
        return row
    batch = filters.temperature(row[None], sampling.temperature)
    batch = filters.top_k(batch, sampling.top_k)
    batch = filters.top_p(batch, sampling.top_p)
    return filters.min_p(batch, sampling.min_p)[0]


def _history_rules(state: SamplerState, row: Tensor, sampling: Sampling) -> Tensor:
    generated = state.generated
    if sampling.repetition_penalty != 1 or sampling.no_repeat_ngram:
        ids = state.prompt + generated if sampling.penalise_prompt else generated
        ids = ids[-sampling.history :] if sampling.history else ids
        row = history.repetition_penalty(row, ids, sampling.repetition_penalty)
        row = history.no_repeat_ngram(row, ids, sampling.no_repeat_ngram)
    if sampling.step_repetition_rule:
        recent = (state.prompt[-history.STEP_WINDOW :] + generated[-history.STEP_WINDOW :])[
            -history.STEP_WINDOW :
        ]
        row = history.step_repetition_rule(row, recent)
    return row
