"""Runs of the ear: the language model's own answers, training, loading."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stepaudio.lm import mind
from stepaudio.lm.adaptor import Adaptor, AdaptorConfig
from stepaudio.lm.lowrank import Adapter, LowRankConfig, adapted
from stepaudio.lm.model import DecoderLM
from stepaudio.lm.prompts.chatml import ASSISTANT_OPEN, render
from stepaudio.training import listening
from stepaudio.training.clips import held_out
from stepaudio.training.heard import Recording
from stepaudio.training.lessons import Course, Spoken, Teaching
from stepaudio.training.loop import Losses, Plan, Progress, train
from stepaudio.training.work import Work

EXAMPLES = 2
"""Of nano's opening in a lesson: all of them would be most of what is computed."""
EVALUATED = 48
"""Held-out lessons of a kind."""


class Ear(nn.Module):
    """What is trained: the adaptor, and the adapter of the language model."""

    def __init__(self, config: AdaptorConfig, lowrank: LowRankConfig, lm: DecoderLM) -> None:
        super().__init__()
        words = torch.arange(1000, device=lm.device)
        self.adaptor = Adaptor(config, float(lm.embed(words).float().square().mean().sqrt()))
        self.adapter = Adapter(lowrank, lm.config)


def opening() -> str:
    """What stands before a question in a lesson: the beginning of what nano's conversations begin with."""
    manner = mind.Manner()
    return render(mind.opening(replace(manner, examples=manner.examples[:EXAMPLES]))).removesuffix(
        ASSISTANT_OPEN
    )


def split(recordings: Iterable[Recording], every: int = 20) -> tuple[list[Recording], list[Recording]]:
    """Recordings that are held out, one in `every` by name, and the others."""
    parts: tuple[list[Recording], list[Recording]] = ([], [])
    for recording in recordings:
        parts[not held_out(recording, every)].append(recording)
    return parts


def train_run(
    work: Path,
    run: str,
    course: Course,
    kept: Sequence[Recording],
    lm: DecoderLM,
    plan: Plan,
    *,
    rank: int = 16,
) -> Progress:
    """Learn what the course teaches, or go on.

    Args:
        work: the work folder.
        run: name of the run.
        course: of lessons.
        kept: recordings for the evaluation.
        lm: the language model, on the device of the plan; its weights are kept.
        plan: how.
        rank: of the adapter.
    """
    torch.manual_seed(0)
    lm.requires_grad_(False)
    manners = torch.from_numpy(np.stack([each.heard.manner for each in course.recordings]))
    ear = Ear(AdaptorConfig(manner=manners.shape[1]), _shape(rank), lm)
    ear.adaptor.measure(manners)
    ear = ear.to(plan.device)
    models, bridge = (adapted(lm, ear.adapter), lm), course.teaching.bridge
    tests = evaluations(course.teaching, kept, course.size)

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        assert isinstance(candidate, Ear)
        figures: dict[str, list[float]] = {}
        for kind, batch in tests:
            for name, value in listening.losses(candidate.adaptor, models, batch, bridge).items():
                name = name if name == "total" else f"{kind}_{name.split('_')[-1]}"
                figures.setdefault(name, []).append(float(value))
        return {name: float(np.mean(values)) for name, values in figures.items()}

    def loss(step: int) -> Losses:
        return listening.losses(ear.adaptor, models, course.draw(step), bridge)

    return train(ear, loss, evaluate, Work(work).folder / "runs" / run, plan)


def evaluations(teaching: Teaching, kept: Sequence[Recording], size: int) -> list[tuple[str, list[Spoken]]]:
    """Batches of held-out lessons, each with its kind."""
    written = [teaching.write(each) for each in _every([each for each in kept if each.text])]
    answered = [teaching.answer(each) for each in _every([each for each in kept if each.answer])]
    told = [(each, name) for each in kept for name in each.facts]
    asked = [teaching.ask(each, name) for each, name in told[:: max(1, len(told) // EVALUATED)]]
    return [
        (kind, lessons[first : first + size])
        for kind, lessons in (("write", written), ("answer", answered), ("ask", asked))
        for first in range(0, len(lessons), size)
    ]


def _every(recordings: Sequence[Recording]) -> Sequence[Recording]:
    return recordings[:: max(1, len(recordings) // EVALUATED)][:EVALUATED]


def _shape(rank: int) -> LowRankConfig:
    return LowRankConfig(rank=rank, alpha=2.0 * rank, dropout=0.05)


def load_ear(work: Path, run: str, lm: DecoderLM) -> Ear:
    """The best model of a run.

    Raises:
        ModelError: there is none.
    """
    weights = Work(work).best(run)
    rank = next(value.shape[0] for name, value in weights.items() if name.endswith(".qkv.a"))
    ear = Ear(AdaptorConfig(manner=len(weights["adaptor.centre"])), _shape(rank), lm)
    ear.load_state_dict(weights)
    return ear.eval().requires_grad_(False)
