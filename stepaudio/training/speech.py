"""The speech language model's corpus and losses: teacher clips with their phonemes, durations and codes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stepaudio.lm.speech import SpeechLM
from stepaudio.training.loop import Losses


@dataclass(frozen=True, eq=False)
class Utterance:
    """One clip of the corpus.

    Attributes:
        phonemes: (N,) ids, the ends included.
        durations: (N,) in ticks, as the teacher says them.
        pointer: (G, 6, 3), see `lm.speech.lay_pointer`; of the clip as it was cut.
        linguistic: (2 G,) codes.
        semantic: (3 G,) codes.
        speaker: (256,) GE2E embedding.
        speed: the teacher's.
    """

    phonemes: np.ndarray
    durations: np.ndarray
    pointer: np.ndarray
    linguistic: np.ndarray
    semantic: np.ndarray
    speaker: np.ndarray
    speed: float


@dataclass(frozen=True)
class UtteranceBatch:
    """Padded utterances; see `Utterance` for the shapes, and true where there is something."""

    phonemes: Tensor
    phoneme_mask: Tensor
    durations: Tensor
    pointer: Tensor
    group_mask: Tensor
    linguistic: Tensor
    semantic: Tensor
    speaker: Tensor
    log_pace: Tensor

    def to(self, device: str | torch.device) -> "UtteranceBatch":
        """The batch on another device."""
        return UtteranceBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


def collate(utterances: Sequence[Utterance], speakers: Sequence[bool]) -> UtteranceBatch:
    """Pad utterances; `speakers` says whose embedding is told."""
    tokens = max(len(u.phonemes) for u in utterances)
    groups = max(len(u.pointer) for u in utterances)

    def padded(arrays: Sequence[np.ndarray], length: int) -> Tensor:
        out = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
        for row, array in zip(out, arrays, strict=True):
            row[: len(array)] = array
        return torch.from_numpy(out)

    lengths = torch.tensor([len(u.phonemes) for u in utterances])
    group_lengths = torch.tensor([len(u.pointer) for u in utterances])
    embeddings = [u.speaker * 16 * told for u, told in zip(utterances, speakers, strict=True)]
    return UtteranceBatch(
        padded([u.phonemes.astype(np.int64) for u in utterances], tokens),
        torch.arange(tokens) < lengths[:, None],
        padded([u.durations.astype(np.float32) for u in utterances], tokens),
        padded([u.pointer.astype(np.float32) for u in utterances], groups),
        torch.arange(groups) < group_lengths[:, None],
        padded([u.linguistic.astype(np.int64) for u in utterances], 2 * groups),
        padded([u.semantic.astype(np.int64) for u in utterances], 3 * groups),
        torch.from_numpy(np.stack(embeddings).astype(np.float32)),
        torch.tensor([float(np.log(u.speed)) for u in utterances]),
    )


def draw(utterances: Sequence[Utterance], size: int, step: int, seed: int = 0) -> UtteranceBatch:
    """The batch of a step: utterances of like length, so that little is padding."""
    random = np.random.default_rng((seed, step))
    order = np.argsort([len(u.pointer) for u in utterances], kind="stable")
    start = int(random.integers(max(1, len(order) - 4 * size + 1)))
    chosen = random.permutation(order[start : start + 4 * size])[:size]
    return collate([utterances[index] for index in chosen], list(random.random(len(chosen)) < 0.7))


def losses(model: SpeechLM, batch: UtteranceBatch, *, errors: float = 0.0, seed: int = 0) -> Losses:
    """Cross-entropy of the digits and the error of the log durations.

    Args:
        model: in training.
        batch: of utterances.
        errors: share of the digits that the next group sees wrong, as it will in generation.
        seed: of those errors.
    """
    text = model.encode(batch.phonemes) * batch.phoneme_mask[..., None]
    told = model.log_durations(text, batch.speaker, batch.log_pace).float()
    # The first and the last token are silence that the corpus has cut.
    inside = batch.phoneme_mask.clone()
    inside[:, 0] = False
    wanted = torch.log(batch.durations.clamp(min=1))
    digits = model.digits(batch.linguistic, batch.semantic)
    seen = digits
    if errors:
        generator = torch.Generator(digits.device).manual_seed(seed)
        wrong = torch.rand(digits.shape, generator=generator, device=digits.device) < errors
        levels = model.config.group_levels[0]
        other = torch.randint(levels, digits.shape, generator=generator, device=digits.device)
        seen = torch.where(wrong, other, digits)
    logits = model.logits(model.conditions(text, batch.pointer, batch.speaker), digits, seen).float()
    entropy = F.cross_entropy(logits[batch.group_mask].flatten(0, 1), digits[batch.group_mask].flatten())
    right = (logits.argmax(-1) == digits)[batch.group_mask].float().mean()
    duration = (told - wanted).abs()[inside].mean()
    return {
        "digits": entropy,
        "digit_errors": 1 - right,
        "duration": duration,
        "total": entropy + 0.5 * duration,
    }
