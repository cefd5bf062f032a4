"""DNSMOS: a network's guess of the mean opinion score that listeners would give (card ``dnsmos``).

Source: C. Reddy et al., "DNSMOS P.835" (2022); windows, polynomials and mel of the published script.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepaudio.audio import Audio
from stepaudio.errors import AudioError

CARD = "dnsmos"
RATE = 16_000
WINDOW = int(9.01 * RATE)
HOP = RATE
# Calibration of the raw outputs: coefficients from the constant up.
_SPEECH = (0.0052439, 1.22083953, -0.08397278)
_BACKGROUND = (-0.39604546, 1.60915514, -0.13166888)
_OVERALL = (0.04602535, 1.11546468, -0.06766283)


@dataclass(frozen=True)
class Mos:
    """Predicted opinions, about 1 to 5.

    Attributes:
        speech: P.835 quality of the speech (SIG).
        background: P.835 freedom from background noise (BAK).
        overall: P.835 quality of the whole (OVRL).
        p808: P.808 overall quality.
    """

    speech: float
    background: float
    overall: float
    p808: float


class Dnsmos:
    """The two networks, loaded from the folder of the card."""

    def __init__(self, folder: Path):
        from stepaudio.onnx_session import OnnxModel

        self._p835 = OnnxModel(folder / "sig_bak_ovr.onnx", threads=1)
        self._p808 = OnnxModel(folder / "model_v8.onnx", threads=1)

    def rate(self, audio: Audio) -> Mos:
        """Rate a clip: the mean over windows of 9 s, a second apart; short clips are repeated to fill one.

        Raises:
            AudioError: the clip is empty.
        """
        samples = np.clip(audio.resample(RATE).samples, -1, 1)
        if not samples.size:
            raise AudioError("an empty clip has no quality to rate")
        while len(samples) < WINDOW:
            samples = np.concatenate([samples, samples])
        count = len(samples) // RATE - WINDOW // RATE
        starts = [at * HOP for at in range(count) if at * HOP + WINDOW <= len(samples)] or [0]
        windows = [samples[start : start + WINDOW].astype(np.float32) for start in starts]
        raw = np.array([self._p835(window[None])[0][0] for window in windows], float)
        p808 = [float(self._p808(_mel(window[:-160])[None])[0][0][0]) for window in windows]
        means = [
            float(np.polynomial.polynomial.polyval(raw[:, column], coefficients).mean())
            for column, coefficients in enumerate((_SPEECH, _BACKGROUND, _OVERALL))
        ]
        return Mos(means[0], means[1], means[2], float(np.mean(p808)))


def _mel(samples: np.ndarray) -> np.ndarray:
    """(n,) at 16 kHz to (frames, 120) float32: decibels below the loudest bin, 0 dB as 1, -80 dB as -1."""
    import torch

    from stepaudio.features.mel import MelConfig, mel_filterbank

    config = MelConfig(sample_rate=RATE, n_fft=321, hop_length=160, n_mels=120, fmax=RATE / 2)
    spectrum = torch.stft(
        torch.from_numpy(samples),
        config.n_fft,
        config.hop_length,
        window=torch.hann_window(config.n_fft),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power = mel_filterbank(config) @ spectrum.abs().square()
    level = 10 * power.clamp(min=1e-10).log10()
    level = (level - level.max()).clamp(min=-80.0)
    mel: np.ndarray = ((level + 40) / 40).T.contiguous().numpy()
    return mel
