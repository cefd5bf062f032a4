"""Runs of the speech language model: its corpus from a tokenizer's codes, and training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stepaudio.decoder.world_voice import Scale, WorldVoice
from stepaudio.lm.speech import SpeechLM, SpeechLMConfig, lay_pointer
from stepaudio.training import speech
from stepaudio.training.ahead import Ahead
from stepaudio.training.autoencoder_run import load_run, tokenise_all
from stepaudio.training.clips import Clip, held_out, load_shards, read_takes
from stepaudio.training.loop import Plan, Progress, train
from stepaudio.training.speech import Utterance
from stepaudio.training.work import Work

BATCH = 24
ERRORS = 0.1
"""Share of wrong digits that training shows the next group."""
ALONE = 400
"""Steps before the decoder's errors count too, in every other step."""
LONGEST = 100
"""Groups of an utterance; longer ones are left out."""


def read_corpus(
    work: Path, tokenizer_run: str, sets: Sequence[str], device: str = "cpu"
) -> tuple[list[Utterance], list[Utterance]]:
    """Utterances to train on, and those held out, of the shards whose timing is known."""
    model, scale = load_run(work, tokenizer_run)
    model = model.to(device)
    features = Work(work).folder / "features"
    found: list[tuple[Clip, Mapping[str, Any]]] = []
    for path in sorted({path for name in sets for path in features.glob(f"{name}.st")}):
        takes = {f"{path.stem}/{take['key']}": take for take in read_takes(path) if "durations" in take}
        for clip in load_shards(features, [path.stem]):
            if clip.name in takes and 2 < clip.groups <= LONGEST:
                found.append((clip, takes[clip.name]))
    codes = tokenise_all(model, scale, [clip for clip, _ in found])
    parts: tuple[list[Utterance], list[Utterance]] = ([], [])
    for (clip, take), (linguistic, semantic) in zip(found, codes, strict=True):
        parts[held_out(clip)].append(_utterance(scale, clip, take, linguistic, semantic))
    return parts


def _utterance(
    scale: Scale, clip: Clip, take: Mapping[str, Any], linguistic: np.ndarray, semantic: np.ndarray
) -> Utterance:
    durations = np.asarray(take["durations"], np.float32)
    relative = scale.relative(clip.world, WorldVoice.of(clip.world))
    return Utterance(
        np.array([0, *take["ids"], 0]),
        durations,
        lay_pointer(torch.from_numpy(durations), clip.groups, float(take["offset"])).numpy(),
        linguistic,
        semantic,
        relative.astype(np.float16),
        scale.voice(WorldVoice.of(clip.world), clip.speaker),
        clip.speaker,
        float(take["speed"]),
    )


def train_run(
    work: Path, run: str, tokenizer_run: str, sets: Sequence[str], plan: Plan, start: str | None = None
) -> Progress:
    """Train on the shards, or go on; the run's folder is ``runs/RUN`` of the work folder.

    Args:
        work: the work folder.
        run: name of the run.
        tokenizer_run: whose codes are learned.
        sets: patterns of the names of the prepared shards.
        plan: how.
        start: another run whose model is learned further.
    """
    utterances, kept = read_corpus(work, tokenizer_run, sets, plan.device)
    size = plan.batch or BATCH
    ahead = Ahead(lambda step: speech.draw(utterances, size, step), plan.loaders)
    torch.manual_seed(0)
    model = (SpeechLM(SpeechLMConfig()) if start is None else load_speech(work, start)).to(plan.device)
    frame_scale = torch.from_numpy(Work(work).scale().frames).to(plan.device)
    through, _ = load_run(work, tokenizer_run)
    through = through.to(plan.device).requires_grad_(False)
    test = speech.collate(kept[:64], [True] * len(kept[:64])).to(plan.device)

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        assert isinstance(candidate, SpeechLM)
        parts = speech.losses(candidate, test, frame_scale, through=through)
        return {name: float(value) for name, value in parts.items()}

    def loss(step: int) -> dict[str, torch.Tensor]:
        batch = ahead(step).to(plan.device)
        decoder = through if (step >= ALONE or start is not None) and step % 2 else None
        return speech.losses(model, batch, frame_scale, errors=ERRORS, seed=step, through=decoder)

    return train(model, loss, evaluate, Work(work).folder / "runs" / run, plan)


def load_speech(work: Path, run: str) -> SpeechLM:
    """The best model of a run.

    Raises:
        ModelError: there is none.
    """
    model = SpeechLM(SpeechLMConfig())
    model.load_state_dict(Work(work).best(run))
    return model.eval()
