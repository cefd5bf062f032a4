"""The tokenizer, learned together with a decoder: its codes must carry frames, phonemes and features.

Reconstruction alone lets consonants go, which are short and quiet; so the linguistic codes must also tell the
teacher's phonemes (known from its durations) and, for every recording, the Whisper features they came from.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.decoder.regressor import FrameRegressor, RegressorConfig
from stepaudio.decoder.world import SPECTRUM
from stepaudio.tokenizer.nano import NanoTokenizer, NanoTokenizerConfig
from stepaudio.training.clips import UNKNOWN, Batch
from stepaudio.training.loop import Losses

PHONEMES = 180
"""More than the ids of the teacher's phonemes."""
PLACES = (1, 4)
"""WORLD frames of a linguistic code's six at which its phonemes are asked for."""


@dataclass(frozen=True)
class Weights:
    """Of the parts of the loss.

    Attributes:
        spectrum: of the spectrum's error; a coefficient weighs as the root of its scale, since the formants
            lie in the middle ones, which are small, and the highest ones cannot be told from codes.
        distortion: of its error in natural-log power, in which low coefficients weigh as they sound.
        pitch: of log-F0 where voiced.
        voicing: of voicing.
        aperiodicity: of aperiodicity.
        phonemes: of the teacher's phonemes, from the linguistic codes.
        features: of the Whisper features, from the linguistic codes.
    """

    spectrum: float = 1.0
    distortion: float = 0.5
    pitch: float = 0.5
    voicing: float = 0.3
    aperiodicity: float = 0.3
    phonemes: float = 0.3
    features: float = 0.3


class Autoencoder(nn.Module):
    """Tokenizer, decoder and the two heads that only training needs."""

    def __init__(self, tokenizer: NanoTokenizerConfig, decoder: RegressorConfig, frame_scale: Tensor) -> None:
        super().__init__()
        self.tokenizer = NanoTokenizer(tokenizer)
        self.decoder = FrameRegressor(decoder)
        digits, width = len(tokenizer.linguistic_levels), 256
        self.head = nn.Sequential(nn.Conv1d(digits, width, 3, padding=1), nn.ReLU())
        self.phonemes = nn.Linear(width, len(PLACES) * PHONEMES)
        self.features = nn.Linear(width, 3 * tokenizer.features)
        self.frame_scale: Tensor
        self.register_buffer("frame_scale", frame_scale)

    def losses(self, batch: Batch, weights: Weights) -> Losses:
        """All parts and ``total``; a batch as `training.clips` draws it."""
        streams = self.tokenizer(batch.whisper, batch.world)
        made = self.decoder(streams.linguistic, streams.semantic, batch.voice).float()
        parts = frame_losses(made, batch.target, self.frame_scale)
        hidden = self.head(streams.linguistic.transpose(1, 2)).transpose(1, 2)
        told = self.phonemes(hidden).float().unflatten(-1, (len(PLACES), PHONEMES))
        spoken = batch.phonemes.unflatten(1, (-1, 6))[:, :, PLACES]
        known = spoken != UNKNOWN
        if known.any():
            parts["phonemes"] = F.cross_entropy(told[known], spoken[known])
            parts["phoneme_errors"] = (told[known].argmax(-1) != spoken[known]).float().mean()
        else:
            parts["phonemes"] = told.sum() * 0
        features = F.layer_norm(batch.whisper, batch.whisper.shape[-1:])
        made_features = self.features(hidden).float().reshape_as(features)
        parts["features"] = F.mse_loss(made_features, features)
        parts["total"] = sum(
            (getattr(weights, name) * part for name, part in parts.items() if hasattr(weights, name)),
            torch.zeros(()),
        )
        return parts


def frame_losses(made: Tensor, target: Tensor, frame_scale: Tensor) -> Losses:
    """Parts of the error of frames (batch, T, 45), relative and scaled; voicing is a logit in `made`."""
    voiced = target[..., 1]
    spectrum = (made[..., 2 : 2 + SPECTRUM] - target[..., 2 : 2 + SPECTRUM]).abs()
    root = frame_scale[2 : 2 + SPECTRUM].sqrt()
    # Cepstral values: their plain sum of squares is the distance of the log spectra (Parseval).
    plain = spectrum * frame_scale[2 : 2 + SPECTRUM]
    return {
        "spectrum": (spectrum * (root / root.mean())).mean(),
        "distortion": (plain.square().sum(-1) + 1e-4).sqrt().mean(),
        "pitch": ((made[..., 0] - target[..., 0]).abs() * voiced).sum() / voiced.sum().clamp(min=1),
        "voicing": F.binary_cross_entropy_with_logits(made[..., 1], voiced),
        "aperiodicity": (made[..., 2 + SPECTRUM :] - target[..., 2 + SPECTRUM :]).abs().mean(),
    }


def code_usage(codes: Tensor, size: int) -> tuple[float, float]:
    """Share of a codebook that occurs in `codes`, and their entropy in bits."""
    counts = torch.bincount(codes.flatten(), minlength=size).float()
    shares = counts[counts > 0] / counts.sum()
    return float((counts > 0).float().mean()), float(-(shares * shares.log2()).sum())
