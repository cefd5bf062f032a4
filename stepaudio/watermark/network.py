"""Perth's network: a residual on the spectrum below 2 kHz, and what finds it again.

Source: Resemble AI, "Perth: audio watermarking and detection" (2025), the implicit model. It was trained to
keep the residual under what the speech itself masks, and to find it after noise, shifts and changes of tempo.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.weights import load_strict, read_safetensors

RATE = 32_000
N_FFT, HOP = 2048, 320
BAND = 128  # bins below 2 kHz
WIDTH, KERNEL, DEPTH = 256, 7, 5
FLOOR_DB, HEADROOM_DB = -180.0, 15.0
SOUNDING = 0.05  # a frame counts when its level is this share of the loudest one's: all but digital silence
PACES = ("slow", "normal", "fast")  # the detector looks at three tempos, so that small changes do not fool it
STRETCH = {"slow": 1.25, "normal": 1.0, "fast": 0.75}
REACH_S = 0.25  # no sample of the residual depends on sound that is farther away than this


class _Layer(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, *, last: bool = False):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)
        self.last = last

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.conv(values)
        return found if self.last else F.leaky_relu(found)


def _stack(outputs: int) -> nn.Sequential:
    middle = [_Layer(WIDTH, WIDTH, KERNEL) for _ in range(DEPTH)]
    return nn.Sequential(_Layer(BAND, WIDTH, 1), *middle, _Layer(WIDTH, outputs, 1, last=True))


class _Embedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = _stack(BAND)


class _Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slow_layers, self.normal_layers, self.fast_layers = (_stack(2) for _ in PACES)


class PerthNet(nn.Module):
    """Embedder and detector; the names of the tensors are those of the published weights."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Embedder()
        self.decoder = _Detector()
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    @classmethod
    def load(cls, folder: Path) -> "PerthNet":
        """Read ``model.safetensors`` of the card's folder.

        Raises:
            ModelError: missing, damaged, or tensors of other names or shapes.
        """
        model = cls()
        path = folder / "model.safetensors"
        load_strict(model, read_safetensors(path), where=str(path))
        return model.eval()

    @torch.inference_mode()
    def residual(self, samples: Tensor) -> Tensor:
        """Return what is to be added to a signal to mark it.

        Args:
            samples: (n,) float32 at 32 kHz, n over 1024.

        Returns:
            (n,) float32.
        """
        spectrum = self._spectrum(samples)
        level = _scaled(spectrum)
        change = self.encoder.layers(level[None, :BAND])[0] * _sounding(level)
        # Levels are logarithms: a change of level is a factor on the spectrum.
        factor = 10 ** (change * (HEADROOM_DB - FLOOR_DB) / 20) - 1
        added = torch.zeros_like(spectrum)
        added[:BAND] = spectrum[:BAND] * factor
        return torch.istft(added, N_FFT, HOP, window=self.window, length=samples.numel())

    @torch.inference_mode()
    def score(self, samples: Tensor) -> float:
        """Return how surely a signal is marked: near 0 is not, near 1 is.

        Args:
            samples: (n,) float32 at 32 kHz, n over 1024.
        """
        level = _scaled(self._spectrum(samples))
        mask = _sounding(level)[None, None]
        if not bool(mask.any()):
            return 0.0
        band, frames = level[None, :BAND], level.shape[1]
        found = []
        for pace in PACES:
            size = max(1, int(frames * STRETCH[pace]))
            seen = F.interpolate(band, size=size, mode="linear", align_corners=True)
            weight = F.interpolate(mask, size=size, mode="nearest")
            values = getattr(self.decoder, f"{pace}_layers")(seen)
            found.append((values * weight).sum(dim=2)[0] / weight.sum().clamp(min=1.0))
        attention, marks = torch.stack(found, dim=1)
        return float((attention.softmax(dim=0) * marks).sum().clamp(0.0, 1.0))

    def _spectrum(self, samples: Tensor) -> Tensor:
        return torch.stft(samples, N_FFT, HOP, window=self.window, return_complex=True)


def _scaled(spectrum: Tensor) -> Tensor:
    """Levels as the network takes them: -180 dB is 0, 15 dB is 1; (bins, frames)."""
    level = 20 * torch.log10(spectrum.abs().clamp(min=10 ** (FLOOR_DB / 20)))
    return (level - FLOOR_DB) / (HEADROOM_DB - FLOOR_DB)


def _sounding(level: Tensor) -> Tensor:
    """Frames (frames,) that are not digital silence: 1.0, others 0.0."""
    total = level.sum(dim=0)
    return (total > SOUNDING * total.max()).float()
