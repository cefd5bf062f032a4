"""Phonemes of recordings of people, in time: a small classifier learns them on the teacher's speech.

It reads the same Whisper features as the tokenizer, with much of them dropped in training, so that it holds
on to what it is sure of. Where the words of a recording are known, their phonemes are laid along what it
hears; where they are not, its own guess counts. What it all but denies stays without a phoneme.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.convnext import convnext
from stepaudio.training.align import align_tokens
from stepaudio.training.clips import UNKNOWN, Clip
from stepaudio.training.loop import Losses, Plan, Progress, train
from stepaudio.training.tokenizer import PHONEMES
from stepaudio.training.work import Work

FEATURES = 384
"""Width of the Whisper features."""
SURE = 0.6
"""Probability from which a phoneme is believed."""
POSSIBLE = 0.1
"""Probability from which a phoneme of known words is believed."""
PAUSES = '\x00 ,.;:!?…—"()“”'
"""Signs of the teacher's alphabet that may stand for silence."""
MARKS = "ˈˌː"
"""Signs that need no time of their own."""
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


def train_run(
    work: Path, run: str, sets: Sequence[str], plan: Plan, taught_by: str | None = None
) -> Progress:
    """Train on the clips whose phonemes are known, or go on.

    Args:
        work: the work folder.
        run: name of the run.
        sets: patterns of the names of the prepared shards.
        plan: how.
        taught_by: a run whose labels of spelled recordings of people are learned too.
    """
    place = Work(work)
    parts = list(place.split(sets))
    if taught_by is not None:
        parts = [label(work, taught_by, [c for c in part if c.taught or len(c.said)]) for part in parts]
    clips, kept = ([c for c in part if (c.phonemes != UNKNOWN).any()] for part in parts)
    torch.manual_seed(0)
    model = PhonemeClassifier().to(plan.device)
    test = _draw(kept, np.random.default_rng(1), 4 * BATCH)
    size = plan.batch or BATCH

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        return {name: float(value) for name, value in _losses(candidate, *test, plan.device).items()}

    def loss(step: int) -> Losses:
        return _losses(model, *_draw(clips, np.random.default_rng((0, step)), size), plan.device)

    return train(model, loss, evaluate, place.folder / "runs" / run, plan)


def load_classifier(work: Work, run: str, features: int = FEATURES) -> PhonemeClassifier:
    """The best classifier of a run.

    Raises:
        ModelError: there is none.
    """
    model = PhonemeClassifier(features)
    model.load_state_dict(work.best(run))
    return model.eval()


def label(
    work: Path, run: str, clips: Sequence[Clip], features: int = FEATURES, device: str = "cpu"
) -> list[Clip]:
    """Clips with the phonemes of their frames, as far as the classifier of a run believes them.

    Clips whose phonemes are known stay as they are.
    """
    model = load_classifier(Work(work), run, features).to(device)
    signs = read_signs() if any(len(clip.said) for clip in clips) else None
    return [
        clip if (clip.phonemes != UNKNOWN).any() else _labelled(model, clip, signs, device) for clip in clips
    ]


def read_signs() -> tuple[np.ndarray, np.ndarray]:
    """Which phonemes of the teacher stand for a pause, and which need no time, (PHONEMES,) bool each."""
    from stepaudio import hub
    from stepaudio.decoder.kokoro_graph import read_vocab

    ids = {"\x00": 0, **read_vocab(hub.folder("kokoro-82m") / "vocab.json")}
    every = np.arange(PHONEMES)
    silent, free = (np.isin(every, [ids[sign] for sign in signs if sign in ids]) for signs in (PAUSES, MARKS))
    return silent, free


@torch.inference_mode()
def _labelled(
    model: PhonemeClassifier, clip: Clip, signs: tuple[np.ndarray, np.ndarray] | None, device: str
) -> Clip:
    whisper = torch.from_numpy(clip.whisper.astype(np.float32)).to(device)
    scores = model(whisper[None])[0].log_softmax(-1).cpu().numpy()
    found, least = scores.argmax(-1), SURE
    if signs is not None and len(clip.said):
        path = align_tokens(scores, np.concatenate(([0], clip.said, [0])), *signs)
        if len(path):
            found, least = path, POSSIBLE
    sure = np.take_along_axis(scores, found[:, None], 1)[:, 0] >= np.log(least)
    phonemes = np.where(sure, found, UNKNOWN).astype(np.int16)
    return replace(clip, phonemes=np.repeat(phonemes, 2)[: len(clip.world)])


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
    known = wanted != UNKNOWN
    wrong = (logits[known].argmax(-1) != wanted[known]).float().mean()
    return {"total": F.cross_entropy(logits[known], wanted[known]), "errors": wrong}
