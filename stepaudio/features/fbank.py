"""Kaldi-compatible log filter banks in torch (no Kaldi, no torchaudio).

Follows Kaldi's ``compute-fbank-feats`` with ``snip_edges`` on: per-frame DC removal, pre-emphasis, window,
power spectrum of 512 points, triangles on the HTK mel scale, natural log.
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class FbankConfig(BaseModel):
    """Shape of a Kaldi filter bank; frame sizes in samples, frequencies in Hz."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(default=16000, gt=0)
    frame_length: int = Field(default=400, gt=0)
    frame_shift: int = Field(default=160, gt=0)
    n_mels: int = Field(default=80, gt=0)
    low_frequency: float = Field(default=20.0, ge=0)
    preemphasis: float = Field(default=0.97, ge=0, lt=1)
    window: Literal["povey", "hamming"] = "povey"
    scale: float = Field(default=1.0, gt=0, description="factor on the waveform before anything else")
    dither: float = Field(default=0.0, ge=0, description="standard deviation of the noise added, 0 for none")


SPEAKER_FBANK = FbankConfig()
"""CAM++ front end: torchaudio's defaults on a waveform in -1..1."""
PARAFORMER_FBANK = FbankConfig(window="hamming", scale=32768.0)
"""Linguistic tokenizer: 16-bit scale, Hamming window. The official class default is dither 1.0, which makes
codes random from run to run; 0 here makes them reproducible."""


def frame_count(samples: int, config: FbankConfig) -> int:
    """Number of whole frames in ``samples`` samples."""
    return max(0, (samples - config.frame_length) // config.frame_shift + 1)


@lru_cache(maxsize=8)
def _window(config: FbankConfig) -> Tensor:
    if config.window == "hamming":
        return torch.hamming_window(config.frame_length, periodic=False)
    return torch.hann_window(config.frame_length, periodic=False) ** 0.85


@lru_cache(maxsize=8)
def _triangles(config: FbankConfig, n_fft: int) -> Tensor:
    """Filters (n_mels, n_fft // 2 + 1): triangles that are linear in mel = 1127 ln(1 + f / 700)."""

    def mel(hz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hz / 700.0)

    limits = mel(torch.tensor([config.low_frequency, config.sample_rate / 2], dtype=torch.float64))
    step = (limits[1] - limits[0]) / (config.n_mels + 1)
    left = limits[0] + torch.arange(config.n_mels, dtype=torch.float64)[:, None] * step
    bins = mel(torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (config.sample_rate / n_fft))[None]
    triangles = torch.minimum((bins - left) / step, (left + 2 * step - bins) / step).clamp(min=0)
    triangles[:, -1] = 0.0  # Kaldi leaves the Nyquist bin out
    return triangles.float()


def kaldi_fbank(waveform: Tensor, config: FbankConfig, generator: torch.Generator | None = None) -> Tensor:
    """Log mel filter bank energies.

    Args:
        waveform: (samples,), float32 in -1..1, at ``config.sample_rate``.
        config: shape of the bank.
        generator: source of the dither noise; unused when ``config.dither`` is 0.

    Returns:
        (frames, n_mels), float32; frames is :func:`frame_count`, 0 for less than one frame of sound.
    """
    if frame_count(waveform.shape[-1], config) == 0:
        return waveform.new_zeros(0, config.n_mels)
    frames = (waveform * config.scale).unfold(0, config.frame_length, config.frame_shift)
    if config.dither:
        noise = torch.randn(frames.shape, generator=generator, device=frames.device)
        frames = frames + config.dither * noise
    frames = frames - frames.mean(dim=1, keepdim=True)
    previous = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - config.preemphasis * previous) * _window(config).to(frames.device)
    n_fft = 2 ** math.ceil(math.log2(config.frame_length))
    power = torch.fft.rfft(frames, n=n_fft).abs().square()
    energies = power @ _triangles(config, n_fft).to(power.device).T
    return energies.clamp(min=torch.finfo(torch.float32).eps).log()
