"""The harmonic source of the vocoder: sines at multiples of F0, and noise where the voice is silent."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.decoder.hift_config import HiftConfig


class HarmonicSource(nn.Module):
    """F0 per frame to one excitation signal (neural source-filter, Wang et al., arXiv 1904.12088).

    The "sample" source adds its phases up in float64, where a float32 sum over samples would drift; the
    "frame" source in `config.phase_precision`.
    """

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.config = config
        self.l_linear = nn.Linear(config.harmonics + 1, 1)

    def initial_phase(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw a start phase in radians, uniform in [-π, π), for each harmonic; the fundamental starts at 0.

        Returns:
            [batch, harmonics + 1, 1]; all zero for the "frame" source, on which the reference's draw has no
            effect.
        """
        phase = torch.zeros(batch, self.config.harmonics + 1, 1)
        if self.config.source == "sample":
            phase[:, 1:] = (torch.rand(phase[:, 1:].shape, generator=generator) * 2 - 1) * math.pi
        return phase

    def forward(self, f0: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
        """Make the excitation.

        Args:
            f0: [batch, frames] in Hz.
            phase: [batch, harmonics + 1, 1] start phases in radians; the "frame" source has none.
            noise: [batch, harmonics + 1, samples], standard normal.

        Returns:
            [batch, 1, samples], within ±1.
        """
        config = self.config
        angle = self._sample_angle(f0, phase) if config.source == "sample" else self._frame_angle(f0)
        sines = config.sine_amplitude * torch.sin(angle).to(f0.dtype)
        voiced = (f0 > config.voiced_threshold).to(f0.dtype)[:, None]
        voiced = voiced.repeat_interleave(config.samples_per_frame, dim=-1)
        amplitude = voiced * config.noise_std + (1 - voiced) * config.sine_amplitude / 3
        harmonics = sines * voiced + amplitude * noise
        return torch.tanh(self.l_linear(harmonics.transpose(1, 2))).transpose(1, 2)

    def end_phase(self, f0: Tensor, phase: Tensor) -> Tensor:
        """The phases after the last sample of `f0`, so that a following piece can go on without a jump."""
        cycles = self._steps(f0).sum(-1, keepdim=True) * self.config.samples_per_frame
        return ((phase.double() + 2 * math.pi * cycles) % (2 * math.pi)).to(phase.dtype)

    def _steps(self, f0: Tensor) -> Tensor:
        """Cycles per sample of every harmonic: [batch, harmonics + 1, frames], float64."""
        order = torch.arange(1, self.config.harmonics + 2, dtype=torch.float64, device=f0.device)
        # The product is rounded to float32 as in the reference, then summed without further loss.
        return (f0[:, None] * order[:, None].float() / self.config.sample_rate).double()

    def _sample_angle(self, f0: Tensor, phase: Tensor) -> Tensor:
        # F0 is constant within a frame, so the running sum over samples is linear between frame starts.
        hop = self.config.samples_per_frame
        steps = self._steps(f0)
        starts = (steps.cumsum(-1) - steps) * hop
        within = torch.arange(1, hop + 1, dtype=torch.float64, device=f0.device)
        cycles = (starts[..., None] + steps[..., None] * within).flatten(-2)
        return 2 * math.pi * (cycles % 1) + phase.double()

    def _frame_angle(self, f0: Tensor) -> Tensor:
        hop = self.config.samples_per_frame
        dtype = torch.float32 if self.config.phase_precision == "float32" else torch.float64
        angle = (self._steps(f0).to(dtype) % 1).cumsum(-1) * (2 * math.pi)
        return F.interpolate(angle * hop, scale_factor=hop, mode="linear", align_corners=False)
