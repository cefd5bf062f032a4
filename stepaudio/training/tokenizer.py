"""The tokenizer, learned together with a decoder: its codes must carry frames, phonemes and features.

Reconstruction alone lets consonants go, which are short and quiet. So the linguistic codes must also tell the
teacher's phonemes (known from its durations) and the Whisper features they came from, and the decoded frames
must sound right to a listener: a small network that learns on the side to tell features and phonemes from
recorded frames, and whose inner values for decoded frames should be those for recorded ones.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from stepaudio.decoder.convnext import convnext
from stepaudio.decoder.regressor import FrameRegressor, RegressorConfig
from stepaudio.decoder.world import SPECTRAL, SPECTRUM, WIDTH
from stepaudio.tokenizer.nano import NanoTokenizer, NanoTokenizerConfig, QuantisedStreams
from stepaudio.training.clips import UNKNOWN, Batch
from stepaudio.training.loop import Losses
from stepaudio.training.perception import Perception

Streams = Literal["both", "linguistic", "semantic"]

PHONEMES = 180
"""More than the ids of the teacher's phonemes."""
PLACES = (1, 4)
"""WORLD frames of a linguistic code's six at which its phonemes are asked for."""
JITTERED = 0.3
"""Share of the stretches whose digits are moved, as a language model will get some wrong."""


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
        heard: of what the listener makes of the decoded frames.
        listener: of what the listener itself has to learn.
        perceived: of how differently a frozen Whisper encoder hears decoded and recorded frames.
        phonetic: of how differently a phoneme classifier on top of it does.
        anchor: of the distance from kept codes.
    """

    spectrum: float = 1.0
    distortion: float = 0.5
    pitch: float = 0.5
    voicing: float = 0.3
    aperiodicity: float = 0.3
    phonemes: float = 0.5
    features: float = 0.3
    heard: float = 0.7
    listener: float = 1.0
    perceived: float = 3.0
    phonetic: float = 1.5
    anchor: float = 3.0


class Listener(nn.Module):
    """WORLD frames to Whisper features and phonemes at 50 Hz: it judges decoded frames, in training only."""

    def __init__(self, features: int, width: int = 192) -> None:
        super().__init__()
        self.inlet = nn.Linear(2 * WIDTH, width)
        self.first = convnext(width, 2 * width, 2, 5)
        self.second = convnext(width, 2 * width, 2, 5)
        self.norm = nn.LayerNorm(width)
        self.features = nn.Linear(width, features)
        self.phonemes = nn.Linear(width, PHONEMES)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, 12 G, 45) -> inner values, features and phoneme logits (batch, 6 G, ...)."""
        first = self.first(self.inlet(frames.reshape(len(frames), -1, 2 * WIDTH)))
        hidden = self.norm(self.second(first))
        inner = torch.cat((F.layer_norm(first, first.shape[-1:]), hidden), -1)
        return inner, self.features(hidden), self.phonemes(hidden)


class Autoencoder(nn.Module):
    """Tokenizer, decoder and what only training needs: two heads and the listener.

    Args:
        tokenizer: sizes of the tokenizer.
        decoder: sizes of the decoder.
        frame_scale: (45,) see `decoder.world_voice.Scale`.
        streams: what the decoder gets to see; one stream alone is an ablation.
    """

    def __init__(
        self,
        tokenizer: NanoTokenizerConfig,
        decoder: RegressorConfig,
        frame_scale: Tensor,
        streams: Streams = "both",
    ) -> None:
        super().__init__()
        self.streams = streams
        self.tokenizer = NanoTokenizer(tokenizer)
        self.decoder = FrameRegressor(decoder)
        digits, width = len(tokenizer.linguistic_levels), 256
        self.head = nn.Sequential(nn.Conv1d(digits, width, 3, padding=1), nn.ReLU())
        self.phonemes = nn.Linear(width, len(PLACES) * PHONEMES)
        self.features = nn.Linear(width, 3 * tokenizer.features)
        self.listener = Listener(tokenizer.features)
        self.frame_scale: Tensor
        self.register_buffer("frame_scale", frame_scale)

    def losses(
        self,
        batch: Batch,
        weights: Weights,
        jitter: float = 0.0,
        anchor: NanoTokenizer | None = None,
        perception: Perception | None = None,
    ) -> Losses:
        """All parts and ``total``; a batch as `training.clips` draws it.

        Args:
            batch: of stretches.
            weights: of the parts.
            jitter: how far, in levels, the digits of some stretches are moved.
            anchor: a tokenizer whose codes the teacher's speech is to keep.
            perception: hears every other stretch, which costs as much as all the rest on all of them.
        """
        moved = None
        if jitter:
            moved = jitter * (torch.rand(len(batch.world), device=batch.world.device) < JITTERED)
        streams = self.tokenizer(batch.whisper, batch.world, moved)
        made = self.decode(streams.linguistic, streams.semantic, batch.voice).float()
        parts = frame_losses(made, batch.target, self.frame_scale)
        hidden = self.head(streams.linguistic.transpose(1, 2)).transpose(1, 2)
        told = self.phonemes(hidden).float().unflatten(-1, (len(PLACES), PHONEMES))
        spoken = batch.phonemes.unflatten(1, (-1, 6))[:, :, PLACES]
        parts["phonemes"], parts["phoneme_errors"] = _phoneme_loss(told, spoken)
        features = F.layer_norm(batch.whisper, batch.whisper.shape[-1:])
        made_features = self.features(hidden).float().reshape_as(features)
        parts["features"] = F.mse_loss(made_features, features)
        parts |= self._listen(made, batch, features)
        if perception is not None:
            parts |= perception.compare(*(x[::2] for x in (made, batch.target, batch.voice, batch.whisper)))
        if anchor is not None:
            parts["anchor"] = _distance(streams, anchor(batch.whisper, batch.world), batch.taught)
        parts["total"] = sum(
            (getattr(weights, name) * part for name, part in parts.items() if hasattr(weights, name)),
            torch.zeros(()),
        )
        return parts

    def decode(self, linguistic: Tensor, semantic: Tensor, voice: Tensor) -> Tensor:
        """Values of both streams in a voice to frames; a stream that is left out is all zeros."""
        made: Tensor = self.decoder(
            linguistic * (self.streams != "semantic"), semantic * (self.streams != "linguistic"), voice
        )
        return made

    def likeness(self, made: Tensor, target: Tensor) -> Tensor:
        """How unlike the listener finds decoded frames (voicing a logit) and wanted ones."""
        inner, told, _ = self._judge(target)
        inner_made, told_made, _ = self._judge(_heard(made))
        return F.l1_loss(inner_made.float(), inner.detach().float()) + F.mse_loss(
            told_made.float(), told.detach().float()
        )

    def _judge(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The listener, which what it judges must not teach."""
        fixed = {name: value.detach() for name, value in self.listener.named_parameters()}
        told: tuple[Tensor, Tensor, Tensor] = functional_call(self.listener, fixed, (frames,))
        return told

    def _listen(self, made: Tensor, batch: Batch, features: Tensor) -> Losses:
        inner, told, phonemes = self.listener(batch.target)
        spoken = batch.phonemes[:, ::2]
        own = _phoneme_loss(phonemes.float(), spoken)[0] + F.mse_loss(told.float(), features)
        inner_made, told_made, phonemes_made = self._judge(_heard(made))
        likeness = F.l1_loss(inner_made.float(), inner.detach().float())
        likeness = likeness + F.mse_loss(told_made.float(), features)
        phoneme_loss, errors = _phoneme_loss(phonemes_made.float(), spoken)
        return {"listener": own, "heard": likeness + phoneme_loss, "heard_errors": errors}


def _distance(made: QuantisedStreams, kept: QuantisedStreams, rows: Tensor) -> Tensor:
    """Mean squared distance of two tokenizers' values on some rows of a batch."""
    if not rows.any():
        return made.linguistic.sum() * 0
    linguistic = F.mse_loss(made.linguistic[rows], kept.linguistic[rows].detach())
    return linguistic + F.mse_loss(made.semantic[rows], kept.semantic[rows].detach())


def _heard(made: Tensor) -> Tensor:
    """Decoded frames as recorded ones are: voicing between 0 and 1."""
    return torch.cat((made[..., :1], torch.sigmoid(made[..., 1:2]), made[..., 2:]), -1)


def _phoneme_loss(logits: Tensor, spoken: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and share of errors where the phoneme is known."""
    known = spoken != UNKNOWN
    if not known.any():
        return logits.sum() * 0, logits.new_zeros(())
    entropy = F.cross_entropy(logits[known], spoken[known])
    return entropy, (logits[known].argmax(-1) != spoken[known]).float().mean()


def frame_losses(made: Tensor, target: Tensor, frame_scale: Tensor) -> Losses:
    """Parts of the error of frames (batch, T, 45), relative and scaled; voicing is a logit in `made`."""
    voiced = target[..., 1]
    spectrum = (made[..., SPECTRAL] - target[..., SPECTRAL]).abs()
    root = frame_scale[SPECTRAL].sqrt()
    # Cepstral values: their plain sum of squares is the distance of the log spectra (Parseval).
    plain = spectrum * frame_scale[SPECTRAL]
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
