"""The speech language model's corpus and losses: teacher clips with their phonemes, durations and codes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stepaudio.lm.speech import SpeechLM
from stepaudio.training.loop import Losses
from stepaudio.training.tokenizer import Autoencoder, frame_losses

THROUGH = 0.3
"""Weight of the decoded frames' errors."""


@dataclass(frozen=True, eq=False)
class Utterance:
    """One clip of the corpus.

    Attributes:
        phonemes: (N,) ids, the ends included.
        durations: (N,) in ticks, as the teacher says them.
        pointer: (G, 6, 3), see `lm.speech.lay_pointer`; of the clip as it was cut.
        linguistic: (2 G,) codes.
        semantic: (3 G,) codes.
        frames: (12 G, 45) float16 WORLD frames, relative to the voice and scaled.
        voice: (85 + 256,) what the decoder is told of the voice.
        speaker: (256,) GE2E embedding.
        speed: the teacher's.
    """

    phonemes: np.ndarray
    durations: np.ndarray
    pointer: np.ndarray
    linguistic: np.ndarray
    semantic: np.ndarray
    frames: np.ndarray
    voice: np.ndarray
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
    frames: Tensor
    voice: Tensor
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
        padded([u.frames.astype(np.float32) for u in utterances], 12 * groups),
        torch.from_numpy(np.stack([u.voice for u in utterances])),
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


def losses(
    model: SpeechLM,
    batch: UtteranceBatch,
    frame_scale: Tensor,
    *,
    errors: float = 0.0,
    seed: int = 0,
    through: Autoencoder | None = None,
) -> Losses:
    """Cross-entropy of the digits, the error of the log durations and of the planned frames.

    With a decoder, the likeliest digits are also decoded, and the error of those frames counts: which digit
    is wrong matters as much as it is heard.

    Args:
        model: in training.
        batch: of utterances.
        frame_scale: (45,) see `training.clips.Scale`.
        errors: share of the digits that the next group sees wrong, as it will in generation.
        seed: of those errors.
        through: a trained tokenizer with its decoder and listener, which stay as they are.
    """
    text = model.encode(batch.phonemes) * batch.phoneme_mask[..., None]
    told = model.log_durations(text, batch.speaker, batch.log_pace).float()
    # The first and the last token are silence, which the mouth lays out by itself.
    inside = batch.phoneme_mask.clone()
    inside[:, 0] = False
    wanted = torch.log(batch.durations.clamp(min=1))
    digits = model.digits(batch.linguistic, batch.semantic)
    seen = digits
    if errors:
        generator = torch.Generator(digits.device).manual_seed(seed)
        wrong = torch.rand(digits.shape, generator=generator, device=digits.device) < errors
        levels = model.config.group_levels[0]
        # Mostly a neighbour, as real errors are.
        step = torch.randint(0, 2, digits.shape, generator=generator, device=digits.device) * 2 - 1
        seen = torch.where(wrong, (digits + step).clamp(0, levels - 1), digits)
    plan = model.plan(text, batch.pointer, batch.speaker, batch.group_mask)
    logits = model.logits(model.conditions(plan, batch.speaker), digits, seen).float()
    entropy = F.cross_entropy(logits[batch.group_mask].flatten(0, 1), digits[batch.group_mask].flatten())
    right = (logits.argmax(-1) == digits)[batch.group_mask].float().mean()
    duration = (told - wanted).abs()[inside].mean()
    whole = batch.group_mask.repeat_interleave(12, 1)
    frames = frame_losses(model.frames(plan).float()[whole][None], batch.frames[whole][None], frame_scale)
    planned = _as_one(frames)
    parts = {
        "digits": entropy,
        "digit_errors": 1 - right,
        "duration": duration,
        "planned": planned,
        "total": entropy + 0.5 * duration + 0.2 * planned,
    }
    if through is not None:
        made = decode_likeliest(model, through, logits, batch.voice)
        decoded = _as_one(frame_losses(made[whole][None], batch.frames[whole][None], frame_scale))
        heard = through.likeness(made * whole[..., None], batch.frames)
        parts |= {"decoded": decoded, "heard": heard}
        parts["total"] = parts["total"] + THROUGH * (decoded + heard)
    return parts


def decode_likeliest(model: SpeechLM, through: Autoencoder, logits: Tensor, voice: Tensor) -> Tensor:
    """Decode the likeliest digits, (batch, G, digits, levels) to (batch, 12 G, 45), with a gradient.

    The values are those of the likeliest digits; the gradient is that of the expected ones.
    """
    levels = model.config.group_levels[0]
    shares = logits.softmax(-1)
    expected = (shares * torch.arange(levels, device=logits.device)).sum(-1)
    digits = logits.argmax(-1) + expected - expected.detach()
    values = digits / (levels - 1) * 2 - 1
    split = 2 * len(model.config.linguistic_levels)
    linguistic = values[..., :split].reshape(len(values), -1, split // 2)
    semantic = values[..., split:].reshape(len(values), -1, len(model.config.semantic_levels))
    made: Tensor = through.decoder(linguistic, semantic, voice).float()
    return made


def _as_one(parts: Losses) -> Tensor:
    return parts["spectrum"] + 0.3 * parts["distortion"] + 0.5 * parts["pitch"] + 0.3 * parts["voicing"]
