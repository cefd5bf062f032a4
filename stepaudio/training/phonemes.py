"""Phonemes of recordings that nobody labelled: a small classifier learns them on the teacher's speech.

It reads the same Whisper features as the tokenizer, with much of them dropped in training, so that it holds
on to what it is sure of; where it is not sure of a frame of a recording, the frame stays without a phoneme.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.convnext import convnext
from stepaudio.training.clips import UNKNOWN, Clip
from stepaudio.training.loop import Losses, Plan, Progress, train
from stepaudio.training.tokenizer import PHONEMES
from stepaudio.training.work import Work

FEATURES = 384
"""Width of the Whisper features."""
SURE = 0.6
"""Probability from which a phoneme is believed."""
STRETCH, BATCH = 96, 24
"""Whisper frames of a stretch, and stretches of a batch."""


class PhonemeClassifier(nn.Module):
    """Whisper features (batch, T, width) to phoneme logits (batch, T, phonemes), at 50 Hz."""

    def __init__(self, features: int = FEATURES, width: int = 256, dropout: float = 0.3) -> None:
        super().__init__()
        self.dropout = dropout
        self.inlet = nn.Linear(features, width)
        self.blocks = convnext(width, 2 * width, 3, 5)
        self.out = nn.Linear(width, PHONEMES)

    def forward(self, whisper: Tensor) -> Tensor:
        """Logits of each frame."""
        hidden = F.dropout(F.layer_norm(whisper, whisper.shape[-1:]), self.dropout, self.training)
        hidden = self.blocks(self.inlet(hidden))
        out: Tensor = self.out(F.dropout(hidden, self.dropout, self.training))
        return out


def train_run(work: Path, run: str, sets: Sequence[str], plan: Plan) -> Progress:
    """Train on the clips whose phonemes are known, or go on."""
    place = Work(work)
    clips, kept = ([c for c in part if (c.phonemes != UNKNOWN).all()] for part in place.split(sets))
    torch.manual_seed(0)
    model = PhonemeClassifier().to(plan.device)
    test = _draw(kept, np.random.default_rng(1), 4 * BATCH)
    size = plan.batch or BATCH

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        return {name: float(value) for name, value in _losses(candidate, *test, plan.device).items()}

    def loss(step: int) -> Losses:
        return _losses(model, *_draw(clips, np.random.default_rng((0, step)), size), plan.device)

    return train(model, loss, evaluate, place.folder / "runs" / run, plan)


def label(
    work: Path, run: str, clips: Sequence[Clip], features: int = FEATURES, device: str = "cpu"
) -> list[Clip]:
    """Clips with the phonemes of those frames that the classifier of a run is sure of.

    Clips whose phonemes are known stay as they are.
    """
    model = PhonemeClassifier(features)
    model.load_state_dict(Work(work).best(run))
    model.eval().to(device)
    return [clip if (clip.phonemes != UNKNOWN).any() else _labelled(model, clip) for clip in clips]


@torch.inference_mode()
def _labelled(model: PhonemeClassifier, clip: Clip) -> Clip:
    whisper = torch.from_numpy(clip.whisper.astype(np.float32)).to(model.out.weight.device)
    shares = model(whisper[None])[0].softmax(-1).cpu()
    sure, best = shares.max(-1)
    found = torch.where(sure >= SURE, best, UNKNOWN).numpy().astype(np.int16)
    return replace(clip, phonemes=np.repeat(found, 2)[: len(clip.world)])


def _draw(clips: Sequence[Clip], random: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    long = [clip for clip in clips if len(clip.whisper) >= STRETCH]
    whisper, phonemes = [], []
    for index in random.integers(len(long), size=size):
        clip = long[int(index)]
        start = int(random.integers(len(clip.whisper) - STRETCH + 1))
        whisper.append(clip.whisper[start : start + STRETCH].astype(np.float32))
        phonemes.append(clip.phonemes[::2][start : start + STRETCH].astype(np.int64))
    return torch.from_numpy(np.stack(whisper)), torch.from_numpy(np.stack(phonemes))


def _losses(model: nn.Module, whisper: Tensor, phonemes: Tensor, device: str) -> Losses:
    logits = model(whisper.to(device)).float().flatten(0, 1)
    wanted = phonemes.to(device).flatten()
    wrong = (logits.argmax(-1) != wanted).float().mean()
    return {"total": F.cross_entropy(logits, wanted), "errors": wrong}
