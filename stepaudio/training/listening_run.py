"""Runs of the ear: its examples from prepared shards, training, and measuring what it writes down."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stepaudio.lm.adaptor import Adaptor, AdaptorConfig, read_spelling
from stepaudio.lm.lowrank import Adapter, LowRankConfig, adapted
from stepaudio.lm.model import DecoderLM
from stepaudio.lm.prompts.chatml import END
from stepaudio.lm.prompts.listening import WRITE_DOWN, heard_turn
from stepaudio.lm.text import TextTokenizer
from stepaudio.training import listening
from stepaudio.training.clips import held_out, load_shards, read_takes
from stepaudio.training.listening import Spoken
from stepaudio.training.loop import Plan, Progress, train
from stepaudio.training.work import Work

BATCH = 16
SORTED = 8
"""Batches' worth of clips that are drawn together and sorted by length, so that little is padding."""
READ_AT_ONCE = 350
"""Characters of a text that the normaliser is given."""
SHORTEST, LONGEST = 50, 800
"""Frames (50 Hz) of a clip that is learned from."""


class Ear(nn.Module):
    """What is trained: the adaptor, and the adapter of the language model."""

    def __init__(self, config: AdaptorConfig, lowrank: LowRankConfig, lm: DecoderLM) -> None:
        super().__init__()
        self.adaptor = Adaptor(config, float(lm.embed(torch.arange(1000)).float().square().mean().sqrt()))
        self.adapter = Adapter(lowrank, lm.config)


def read_spoken(
    work: Path, sets: Sequence[str], tokenizer: TextTokenizer, texts: Mapping[str, str] | None = None
) -> tuple[list[Spoken], list[Spoken]]:
    """Clips to write down, of prepared shards whose texts are known: to train on, and held out.

    Args:
        work: the work folder.
        sets: patterns of the shards.
        tokenizer: of the language model.
        texts: what is said in clips whose shards do not tell, by key.
    """
    parts: tuple[list[Spoken], list[Spoken]] = ([], [])
    turn = heard_turn(tokenizer, WRITE_DOWN)
    features = Work(work).folder / "features"
    for path in sorted({path for name in sets for path in features.glob(f"{name}.st")}):
        takes = {f"{path.stem}/{take['key']}": take for take in read_takes(path)}
        for clip in load_shards(features, [path.stem]):
            take = takes.get(clip.name)
            if take is None or not SHORTEST <= len(clip.whisper) <= LONGEST:
                continue
            text = take["text"] or (texts or {}).get(take["key"], "")
            if text:
                reply = tuple(tokenizer.encode(written(text) + END))
                parts[held_out(clip)].append(
                    Spoken(clip.whisper, written(text), turn.before, turn.after, reply)
                )
    return parts


def written(text: str) -> str:
    """What the ear is to write: words as they are said, numbers spelled out, in one case."""
    from textwrap import wrap

    from stepaudio.speech.normalise import normalise

    said = " ".join(normalise(piece, "en-us") for piece in wrap(text, READ_AT_ONCE))
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in said.lower().replace("’", "'"))
    return " ".join(kept.split())


def draw(spoken: Sequence[Spoken], step: int, size: int = BATCH, seed: int = 0) -> list[Spoken]:
    """The batch of a step: clips of about equal length."""
    group, place = divmod(step, SORTED)
    random = np.random.default_rng((seed, group))
    chosen = random.integers(len(spoken), size=size * SORTED)
    in_order = sorted(chosen, key=lambda i: (len(spoken[i].features), i))
    batches = [in_order[k * size : (k + 1) * size] for k in range(SORTED)]
    return [spoken[i] for i in batches[random.permutation(SORTED)[place]]]


def train_run(
    work: Path,
    run: str,
    spoken: Sequence[Spoken],
    kept: Sequence[Spoken],
    lm: DecoderLM,
    plan: Plan,
    *,
    replies: bool,
    start: str | None = None,
    batch: int = BATCH,
) -> Progress:
    """Learn to spell, or with `replies` to write with the language model, or go on.

    Args:
        work: the work folder.
        run: name of the run.
        spoken: examples.
        kept: examples for the evaluation.
        lm: the language model; its weights are kept.
        plan: how.
        replies: whether the language model takes part.
        start: another run to start from.
        batch: clips a step.
    """
    torch.manual_seed(0)
    lm.requires_grad_(False)
    ear = Ear(AdaptorConfig(), LowRankConfig(dropout=0.05), lm).to(plan.device)
    if start is not None:
        ear.load_state_dict(Work(work).best(start))
    model = adapted(lm, ear.adapter) if replies else None
    test = sorted(kept, key=lambda each: len(each.features))[:: max(1, len(kept) // 64)]
    tests = [test[first : first + 16] for first in range(0, len(test), 16)]

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        assert isinstance(candidate, Ear)
        found = [listening.losses(candidate.adaptor, model, part) for part in tests]
        return {name: float(np.mean([float(each[name]) for each in found])) for name in found[0]}

    def loss(step: int) -> listening.Losses:
        random = np.random.default_rng((1, step))
        return listening.losses(ear.adaptor, model, draw(spoken, step, batch), random)

    return train(ear, loss, evaluate, Work(work).folder / "runs" / run, plan)


def load_ear(work: Path, run: str, lm: DecoderLM) -> Ear:
    """The best model of a run.

    Raises:
        ModelError: there is none.
    """
    ear = Ear(AdaptorConfig(), LowRankConfig(), lm)
    ear.load_state_dict(Work(work).best(run))
    return ear.eval().requires_grad_(False)


@torch.inference_mode()
def spelled(adaptor: Adaptor, spoken: Sequence[Spoken]) -> Iterator[str]:
    """What the adaptor alone spells."""
    for each in spoken:
        features, _ = listening.pad_features([each])
        yield read_spelling(adaptor(features)[1][0])
