"""Runs of the flow decoder on kept codes and a kept regressor: the flow learns what it leaves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from stepaudio.decoder.world_flow import WorldFlow, WorldFlowConfig
from stepaudio.tokenizer.nano import NanoTokenizer
from stepaudio.training.ahead import Ahead
from stepaudio.training.autoencoder_run import load_run
from stepaudio.training.clips import Batch, Batches
from stepaudio.training.loop import Losses, Plan, Progress, train
from stepaudio.training.tokenizer import JITTERED, Autoencoder
from stepaudio.training.work import Work

BATCH = 32
CHUNKS = (4, 6, 10, 16)
"""Groups that see each other, one of these a step: what a stream may be cut into."""
PEOPLE = 0.35
"""Share of people's speech."""
JITTER = 0.6
"""Levels by which the digits of some stretches are moved, at most: a language model errs."""


def train_run(
    work: Path,
    run: str,
    codes_of: str,
    sets: Sequence[str],
    plan: Plan,
    spoken: str | None = None,
    start: str | None = None,
) -> Progress:
    """Train on the codes and the regressor of the run `codes_of`, or go on.

    Args:
        work: the work folder.
        run: name of the run.
        codes_of: run of the tokenizer.
        sets: patterns of the names of the prepared shards.
        plan: how.
        spoken: run of the tokenizer whose codes the language model writes, where it is another: the teacher's
            speech is decoded from those.
        start: another run whose flow is learned further; the regressor is that of `codes_of`.
    """
    place = Work(work)
    teacher, scale = load_run(work, codes_of)
    teacher = teacher.to(plan.device).requires_grad_(False)
    written = load_run(work, spoken)[0].tokenizer.to(plan.device) if spoken else None
    clips, kept = place.split(sets)
    batches = Batches(clips, scale, size=plan.batch or BATCH, people=PEOPLE)
    ahead = Ahead(batches.draw, plan.loaders)
    tests = Batches(kept, scale, size=64, shifted=0, seed=1)
    test = tests.draw(0).to(plan.device)
    torch.manual_seed(0)
    model = WorldFlow(WorldFlowConfig(regressor=teacher.decoder.config))
    if start is not None:
        model.load_state_dict(load_flow_run(work, start, codes_of).state_dict())
    model.regressor.load_state_dict(teacher.decoder.state_dict())
    model.regressor.requires_grad_(False)
    model = model.to(plan.device)
    model.spread.copy_(leftover(model, teacher, test))

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        assert isinstance(candidate, WorldFlow)
        generator = torch.Generator(plan.device).manual_seed(0)
        parts = losses(candidate, teacher, test, 10, 0.0, generator, written)
        return {name: float(value) for name, value in parts.items()}

    def loss(step: int) -> Losses:
        chunk = CHUNKS[step % len(CHUNKS)]
        batch = ahead(step).to(plan.device)
        return losses(model, teacher, batch, chunk, JITTER, written=written)

    return train(model, loss, evaluate, place.folder / "runs" / run, plan)


def losses(
    model: WorldFlow,
    teacher: Autoencoder,
    batch: Batch,
    chunk: int,
    jitter: float,
    generator: torch.Generator | None = None,
    written: NanoTokenizer | None = None,
) -> Losses:
    """The flow's loss on the codes of `teacher`; of the taught speech on those of `written`."""
    with torch.no_grad():
        moved = jitter * (torch.rand(len(batch.world), device=batch.world.device) < JITTERED)
        streams = teacher.tokenizer(batch.whisper, batch.world, moved)
        linguistic, semantic = streams.linguistic, streams.semantic
        if written is not None:
            other = written(batch.whisper, batch.world, moved)
            taught = batch.taught[:, None, None]
            linguistic = torch.where(taught, other.linguistic, linguistic)
            semantic = torch.where(taught, other.semantic, semantic)
    loss = model.loss(linguistic, semantic, batch.voice, batch.target, chunk, generator)
    return {"flow": loss, "total": loss}


@torch.no_grad()
def leftover(model: WorldFlow, teacher: Autoencoder, batch: Batch) -> torch.Tensor:
    """How far recorded frames lie from the expected ones, (45,)."""
    streams = teacher.tokenizer(batch.whisper, batch.world)
    expected = model.expect(streams.linguistic, streams.semantic, batch.voice)
    return (batch.target - expected).square().mean((0, 1)).sqrt().clamp(min=1e-3)


def load_flow_run(work: Path, run: str, codes_of: str) -> WorldFlow:
    """The best model of a run.

    Raises:
        ModelError: there is none.
    """
    weights = Work(work).best(run)
    teacher, _ = load_run(work, codes_of)
    model = WorldFlow(WorldFlowConfig(regressor=teacher.decoder.config))
    model.load_state_dict(weights)
    return model.eval()
