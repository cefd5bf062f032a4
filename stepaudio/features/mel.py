"""Mel spectrograms of both families: Whisper-style log-mels and the vocoders' prompt mels."""

from functools import lru_cache

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import pad


class MelConfig(BaseModel):
    """Shape of a mel spectrogram; lengths in samples, frequencies in Hz."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(gt=0)
    n_fft: int = Field(gt=0)
    hop_length: int = Field(gt=0)
    n_mels: int = Field(gt=0)
    fmin: float = Field(default=0.0, ge=0)
    fmax: float = Field(gt=0)


WHISPER_128 = MelConfig(sample_rate=16000, n_fft=400, hop_length=160, n_mels=128, fmax=8000.0)
"""Log-mel of Whisper large-v3, of the S3 tokenizers and of Step-Audio 2's encoder."""
WHISPER_80 = WHISPER_128.model_copy(update={"n_mels": 80})
"""Log-mel of the smaller Whisper models."""
PROMPT_22050 = MelConfig(sample_rate=22050, n_fft=1024, hop_length=256, n_mels=80, fmax=8000.0)
"""Prompt mel of Step-Audio's 22.05 kHz decoders."""
PROMPT_24000 = MelConfig(sample_rate=24000, n_fft=1920, hop_length=480, n_mels=80, fmax=8000.0)
"""Prompt mel of Step-Audio 2's 24 kHz decoder (50 frames a second)."""


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's scale: linear (200/3 Hz a mel) below 1 kHz, 27 mels for a factor of 6.4 above."""
    linear = hz / (200.0 / 3)
    return np.where(hz < 1000.0, linear, 15.0 + np.log(np.maximum(hz, 1.0) / 1000.0) * 27.0 / np.log(6.4))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15.0, mel * (200.0 / 3), 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))


@lru_cache(maxsize=16)
def mel_filterbank(config: MelConfig) -> Tensor:
    """Triangular filters on Slaney's mel scale, each with unit area (``librosa.filters.mel`` defaults).

    Returns:
        (n_mels, n_fft // 2 + 1), float32. Shared between callers: do not write into it.
    """
    edges = _hz_to_mel(np.array([config.fmin, config.fmax]))
    centres = _mel_to_hz(np.linspace(edges[0], edges[1], config.n_mels + 2))
    bins = np.fft.rfftfreq(config.n_fft, 1.0 / config.sample_rate)
    distance = centres[:, None] - bins[None, :]
    width = np.diff(centres)[:, None]
    rising, falling = -distance[:-2] / width[:-1], distance[2:] / width[1:]
    weights = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (centres[2:] - centres[:-2]))[:, None]
    return torch.from_numpy(weights.astype(np.float32))


def _power_spectrum(waveform: Tensor, config: MelConfig, *, center: bool) -> Tensor:
    window = torch.hann_window(config.n_fft, device=waveform.device)
    spectrum = torch.stft(
        waveform,
        config.n_fft,
        config.hop_length,
        window=window,
        center=center,
        pad_mode="reflect",
        return_complex=True,
    )
    return spectrum.abs().square() if center else spectrum.real.square() + spectrum.imag.square()


def whisper_log_mel(waveform: Tensor, config: MelConfig = WHISPER_128, *, right_padding: int = 0) -> Tensor:
    """Whisper's log-mel spectrogram without the padding to 30 seconds.

    Args:
        waveform: (samples,) or (batch, samples), float32, 16 kHz, more than ``n_fft // 2`` samples
            after padding (reflection needs them).
        config: number of mel bins and frame shape.
        right_padding: zeros put after the waveform (479 for Step-Audio 2's encoder, 0 for the S3 tokenizers).

    Returns:
        (..., n_mels, (samples + right_padding) // hop_length), float32, about -1..1.5; the floor is
        8 decades (80 dB) below the loudest bin of each waveform.
    """
    waveform = pad(waveform, (0, right_padding)) if right_padding else waveform
    power = _power_spectrum(waveform, config, center=True)[..., :-1]
    return whisper_scale(mel_filterbank(config).to(power.device) @ power)


def whisper_scale(power: Tensor) -> Tensor:
    """The power in mel filters (..., n_mels, T) as Whisper sees it; see `whisper_log_mel`."""
    log_mel = power.clamp(min=1e-10).log10()
    floor = log_mel.detach().amax(dim=(-2, -1), keepdim=True) - 8.0
    return (torch.maximum(log_mel, floor) + 4.0) / 4.0


def prompt_mel(waveform: Tensor, config: MelConfig) -> Tensor:
    """Natural-log magnitude mel that the flow-matching decoders take as prompt.

    Args:
        waveform: (samples,) or (batch, samples), float32 at ``config.sample_rate``.
        config: :data:`PROMPT_22050` or :data:`PROMPT_24000`.

    Returns:
        (..., n_mels, samples // hop_length), float32; the floor is ln(1e-5).
    """
    batched = waveform if waveform.ndim == 2 else waveform[None]
    margin = (config.n_fft - config.hop_length) // 2
    padded = pad(batched[:, None], (margin, margin), mode="reflect")[:, 0]
    magnitude = (_power_spectrum(padded, config, center=False) + 1e-9).sqrt()
    log_mel = (mel_filterbank(config).to(magnitude.device) @ magnitude).clamp(min=1e-5).log()
    return log_mel if waveform.ndim == 2 else log_mel[0]


def fit_frames(mel: Tensor, frames: int) -> Tensor:
    """Cut ``mel`` (..., n_mels, T) to ``frames`` frames, or repeat its last frame up to that number.

    Step-Audio 2 forces its prompt mel to twice the number of prompt codes this way.
    """
    missing = frames - mel.shape[-1]
    if missing <= 0:
        return mel[..., :frames]
    return torch.cat([mel, mel[..., -1:].expand(*mel.shape[:-1], missing)], dim=-1)
