"""The adaptor learns how something is said: cross-entropy over what is known of each recording."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.lm.adaptor import Adaptor, AdaptorConfig
from stepaudio.lm.prompts.questions import QUESTIONS
from stepaudio.training.heard import Recording
from stepaudio.training.loop import Losses, Plan, Progress, train
from stepaudio.training.work import Work

UNKNOWN = -100
"""Stands for an answer that is not known; no loss is counted there."""


def shape(manner: int = AdaptorConfig.model_fields["manner"].default, **sizes: int) -> AdaptorConfig:
    """Sizes of an adaptor for the questions that are known."""
    return AdaptorConfig(
        words=tuple(tuple(question.words.values()) for question in QUESTIONS), manner=manner, **sizes
    )


def known(recordings: Sequence[Recording]) -> tuple[Tensor, Tensor]:
    """How recordings sound, (n, manner) float32, and their answers, (n, questions) int64 or `UNKNOWN`."""
    places = [{value: place for place, value in enumerate(each.words)} for each in QUESTIONS]
    answers = [
        [
            at.get(recording.facts.get(each.name, ""), UNKNOWN)
            for each, at in zip(QUESTIONS, places, strict=True)
        ]
        for recording in recordings
    ]
    manner = np.stack([recording.heard.manner for recording in recordings])
    return torch.from_numpy(manner), torch.tensor(answers).reshape(-1, len(QUESTIONS))


def losses(adaptor: Adaptor, manner: Tensor, answers: Tensor) -> Losses:
    """Cross-entropy of each question, every answer counted as much as the others.

    Returns:
        By name of the question; ``NAME_errors`` is the share of wrong answers, ``total`` gets minimised.
    """
    logits = adaptor(manner)
    out: Losses = {}
    total = logits.new_zeros(())
    for place, question in enumerate(QUESTIONS):
        at = answers[:, place] != UNKNOWN
        if not at.any():
            continue
        told, wanted = logits[at, place], answers[at, place]
        counts = wanted.bincount(minlength=told.shape[-1])
        weights = len(wanted) / (counts.clamp(min=1) * (counts > 0).sum())
        out[question.name] = F.cross_entropy(told, wanted, weights)
        out[f"{question.name}_errors"] = (told.argmax(-1) != wanted).float().mean().detach()
        total = total + out[question.name]
    return out | {"total": total}


def train_run(
    work: Path,
    run: str,
    said: Sequence[Recording],
    kept: Sequence[Recording],
    plan: Plan,
    *,
    noise: float = 0.3,
) -> Progress:
    """Learn from recordings, or go on.

    Args:
        work: the work folder.
        run: name of the run.
        said: to learn from.
        kept: for the evaluation.
        plan: how.
        noise: added to the values that tell how something sounds, in deviations.
    """
    torch.manual_seed(0)
    manner, answers = known(said)
    adaptor = Adaptor(shape(manner.shape[1]))
    adaptor.measure(manner)
    adaptor = adaptor.to(plan.device)
    size = plan.batch or 128

    def loss(step: int) -> Losses:
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randint(len(manner), (size,), generator=generator)
        values = manner[chosen].to(plan.device)
        values = values + noise * adaptor.spread * torch.randn(values.shape, generator=generator).to(
            plan.device
        )
        return losses(adaptor, values, answers[chosen].to(plan.device))

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        assert isinstance(candidate, Adaptor)
        values = [part.to(plan.device) for part in known(kept)]
        return {name: float(value) for name, value in losses(candidate, *values).items()}

    return train(adaptor, loss, evaluate, Work(work).folder / "runs" / run, plan)


def load_run(work: Path, run: str) -> Adaptor:
    """The best adaptor of a run.

    Raises:
        ModelError: there is none.
    """
    weights = Work(work).best(run)
    width, manner = weights["inlet.weight"].shape
    adaptor = Adaptor(shape(manner, width=width))
    adaptor.load_state_dict(weights)
    return adaptor.eval().requires_grad_(False)
