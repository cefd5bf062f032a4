"""The GE2E speaker encoder: a voice as 256 values of which the cosine tells how alike two voices are.

Source: L. Wan et al., "Generalized end-to-end loss for speaker verification" (2018), in the form of
Resemblyzer (its weights: card ``speaker-ge2e``). The front end is a power mel spectrogram, not its logarithm.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.features.mel import MelConfig, mel_filterbank
from stepaudio.weights import load_strict, read_safetensors

CARD = "speaker-ge2e"
MEL = MelConfig(sample_rate=16_000, n_fft=400, hop_length=160, n_mels=40, fmax=8000.0)
WIDTH = 256
WINDOW = 160
"""Frames of one partial (1.6 s)."""
RATE = 1.3
"""Partials a second."""
COVERAGE = 0.75
"""Least share of the last partial that must be sound rather than padding."""
LEVEL_DB = -30.0
"""Quieter clips are raised to this RMS level (dB of full scale); louder ones are left alone."""


class SpeakerEncoder(nn.Module):
    """Three LSTM layers, a projection and a ReLU; use `load` for the published weights."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MEL.n_mels, WIDTH, num_layers=3, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    @classmethod
    def load(cls, folder: Path) -> "SpeakerEncoder":
        """Read ``model.safetensors`` of the card's folder.

        Raises:
            ModelError: missing, damaged, or tensors of other names or shapes.
        """
        model = cls()
        path = folder / "model.safetensors"
        load_strict(model, read_safetensors(path), where=str(path))
        return model.eval()

    def forward(self, mels: Tensor) -> Tensor:
        """Embed windows.

        Args:
            mels: (batch, frames, 40) float32 power mels.

        Returns:
            (batch, 256) float32, not negative, of length 1.
        """
        _, (hidden, _) = self.lstm(mels)
        return F.normalize(torch.relu(self.linear(hidden[-1])), dim=1)

    @torch.inference_mode()
    def embed(self, audio: Audio) -> np.ndarray:
        """Embed a clip: the mean over overlapping windows, scaled to length 1.

        Args:
            audio: any rate; more than a second tells voices apart better.

        Returns:
            (256,) float32 of length 1.

        Raises:
            AudioError: the clip is empty or silent.
        """
        samples = levelled(audio.resample(MEL.sample_rate).samples)
        starts, length = partials(len(samples))
        if length > len(samples):
            samples = np.pad(samples, (0, length - len(samples)))
        mel = power_mel(torch.from_numpy(samples))
        mean = self(torch.stack([mel[start : start + WINDOW] for start in starts])).mean(dim=0)
        embedding: np.ndarray = F.normalize(mean, dim=0).numpy()
        return embedding


def power_mel(samples: Tensor) -> Tensor:
    """Mel spectrogram of power.

    Args:
        samples: (n,) float32 at 16 kHz.

    Returns:
        (n // 160 + 1, 40) float32.
    """
    window = torch.hann_window(MEL.n_fft)
    spectrum = torch.stft(
        samples,
        MEL.n_fft,
        MEL.hop_length,
        window=window,
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return (mel_filterbank(MEL) @ spectrum.abs().square()).T


def partials(samples: int) -> tuple[list[int], int]:
    """Lay windows over a clip.

    Args:
        samples: its length at 16 kHz.

    Returns:
        First frame of each window, and the samples that the clip must be padded to.
    """
    hop = MEL.hop_length
    frames = -(-(samples + 1) // hop)
    step = round(MEL.sample_rate / RATE / hop)
    starts = list(range(0, max(1, frames - WINDOW + step + 1), step))
    if len(starts) > 1 and (samples - starts[-1] * hop) / (WINDOW * hop) < COVERAGE:
        starts.pop()
    return starts, (starts[-1] + WINDOW) * hop


def levelled(samples: np.ndarray) -> np.ndarray:
    """Raise a quiet clip to -30 dB RMS.

    Raises:
        AudioError: the clip is empty or silent.
    """
    power = float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
    if power <= 0:
        raise AudioError("a voice cannot be told from an empty or silent clip")
    gain = 10 ** (LEVEL_DB / 20) / power**0.5
    return samples * np.float32(max(1.0, gain))


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of two embeddings: 1 is the same voice."""
    return float(np.dot(a, b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
