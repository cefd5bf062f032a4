"""A training loop that can be picked up: checkpoints, a moving average, the best kept, a CSV and a plot."""

import csv
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from stepaudio.errors import ModelError

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Attributes:
        steps: of the optimiser, in all; the learning rate falls to zero along half a cosine.
        learning_rate: at its highest.
        warmup: steps until then.
        weight_decay: of AdamW.
        clip: of the gradient's norm.
        average: decay of the moving average of the weights, which is what gets evaluated and kept.
        every: steps between two lines of the log.
        evaluate_every: steps between two evaluations, each followed by a checkpoint.
        minutes: stop in good order after this much time, for a later run to go on.
        within: minutes that the whole schedule has to fit into: where the steps would take longer, the
            learning rate falls with the clock, and the run ends there.
        bf16: autocast, which pays where the processor has it.
        keep: which averaged weights ``best.pt`` holds: those of the lowest ``total`` evaluated, or the last
            ones, which are the better ones where ``total`` sums lessons of which some over-fit early.
        device: where to train.
        batch: clips of a batch; each kind of run has its own number.
        loaders: processes that draw batches ahead, which pays where a GPU would wait for them.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.995
    every: int = 20
    evaluate_every: int = 250
    minutes: float = 1e9
    within: float = 1e9
    bf16: bool = False
    keep: Literal["best", "last"] = "best"
    device: str = "cpu"
    batch: int | None = None
    loaders: int = 0

    def rate(self, step: int, minutes: float = 0.0) -> float:
        """The learning rate of a step, so many minutes after the beginning."""
        import math

        rise = min(1.0, (step + 1) / max(1, self.warmup))
        done = min(1.0, max(step / self.steps, minutes / self.within))
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class Progress:
    """What a run has come to.

    Attributes:
        step: steps done.
        best: lowest value of the evaluation.
    """

    step: int = 0
    best: float = float("inf")


def train(
    model: nn.Module,
    loss: Callable[[int], Losses],
    evaluate: Callable[[nn.Module], Mapping[str, float]],
    folder: Path,
    plan: Plan,
) -> Progress:
    """Train, or go on training where `folder` has a checkpoint.

    Args:
        model: on the device of the plan; ends with the averaged weights of the last step.
        loss: of a step, by part; ``total`` is what gets minimised. The step seeds whatever is random.
        evaluate: figures of a model; ``total`` decides which is the best. It gets the averaged weights.
        folder: gets ``last.pt``, ``best.pt`` (averaged weights, see `Plan.keep`), ``log.csv``, ``log.png``.
        plan: how.

    Raises:
        ModelError: the checkpoint is not one of this model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(
        [value for value in model.parameters() if value.requires_grad],
        lr=plan.learning_rate,
        weight_decay=plan.weight_decay,
        betas=(0.9, 0.98),
        fused=True,
    )
    averaged = {name: value.detach().clone() for name, value in model.state_dict().items()}
    progress = _resume(folder / "last.pt", model, optimizer, averaged, plan.device)
    began, lines = time.monotonic(), Log(folder / "log.csv")
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    device_type = torch.device(plan.device).type
    while progress.step < plan.steps:
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(progress.step, (time.monotonic() - began) / 60)
        with torch.autocast(device_type, torch.bfloat16, enabled=plan.bf16):
            parts = loss(progress.step)
        optimizer.zero_grad(set_to_none=True)
        parts["total"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        optimizer.step()
        progress.step += 1
        # A young average follows faster.
        decay = min(plan.average, progress.step / (progress.step + 10))
        with torch.no_grad():
            now = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
            torch._foreach_lerp_([averaged[name] for name in now], list(now.values()), 1 - decay)
        for name, part in parts.items():  # summed where they are: reading each would wait for a GPU
            sums[name] = sums.get(name, torch.zeros((), device=part.device)) + part.detach()
            counts[name] = counts.get(name, 0) + 1
        if progress.step % plan.every == 0:
            means = {name: float(value) / counts[name] for name, value in sums.items()}
            lines.add(progress.step, "train", means)
            sums, counts = {}, {}
        out_of_time = time.monotonic() - began > 60 * min(plan.minutes, plan.within)
        if progress.step % plan.evaluate_every == 0 or progress.step == plan.steps or out_of_time:
            _evaluate(model, averaged, evaluate, folder, progress, lines, plan.keep)
            _save(folder / "last.pt", model, optimizer, averaged, progress)
        if out_of_time:
            break
    model.load_state_dict(averaged)
    return progress


def _evaluate(
    model: nn.Module,
    averaged: dict[str, Tensor],
    evaluate: Callable[[nn.Module], Mapping[str, float]],
    folder: Path,
    progress: Progress,
    lines: "Log",
    keep: str,
) -> None:
    trained = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(averaged)
    model.eval()
    with torch.inference_mode():
        figures = evaluate(model)
    if figures["total"] < progress.best or keep == "last":
        torch.save(averaged, folder / "best.pt")
    progress.best = min(progress.best, figures["total"])
    model.load_state_dict(trained)
    lines.add(progress.step, "held-out", figures)
    lines.plot(folder / "log.png")


def _save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averaged: dict[str, Tensor],
    progress: Progress,
) -> None:
    unfinished = path.with_suffix(".part")
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "averaged": averaged,
            "step": progress.step,
            "best": progress.best,
        },
        unfinished,
    )
    unfinished.replace(path)


def _resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, averaged: dict[str, Tensor], device: str
) -> Progress:
    if not path.is_file():
        return Progress()
    held = torch.load(path, map_location=device, weights_only=True)
    try:
        model.load_state_dict(held["model"])
        optimizer.load_state_dict(held["optimizer"])
        averaged.update(held["averaged"])
        return Progress(held["step"], held["best"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: not a checkpoint of this model ({error})".split("\n")[0]) from None


class Log:
    """Figures by step, in a CSV of the columns step, seconds, split, name, value."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = time.monotonic()
        if not path.is_file():
            self._write([("step", "seconds", "split", "name", "value")])

    def add(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """Append one line for each figure."""
        seconds = round(time.monotonic() - self.began, 1)
        self._write([(step, seconds, split, name, f"{value:.5g}") for name, value in figures.items()])

    def read(self) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """Return (step, value) pairs by (split, name)."""
        curves: dict[tuple[str, str], list[tuple[int, float]]] = {}
        with self.path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                key = (row["split"], row["name"])
                curves.setdefault(key, []).append((int(row["step"]), float(row["value"])))
        return curves

    def plot(self, path: Path) -> None:
        """Draw the curves, if matplotlib is installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return
        curves = self.read()
        names = sorted({name for _, name in curves})
        figure = Figure(figsize=(4 * min(4, len(names)), 2.6 * -(-len(names) // 4)), layout="constrained")
        for index, name in enumerate(names):
            axes = figure.add_subplot(-(-len(names) // 4), min(4, len(names)), index + 1)
            for split in ("train", "held-out"):
                if points := curves.get((split, name)):
                    axes.plot(*zip(*points, strict=True), label=split, linewidth=1)
            axes.set_title(name, fontsize=9)
            axes.tick_params(labelsize=7)
        figure.savefig(path, dpi=80)

    def _write(self, rows: list[tuple[object, ...]]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
