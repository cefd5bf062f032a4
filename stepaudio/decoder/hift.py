"""HiFT: mel frames to a waveform through a harmonic source, upsampling convolutions and an inverse STFT."""

from itertools import accumulate
from operator import mul

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.decoder.f0 import F0Predictor
from stepaudio.decoder.hift_config import HiftConfig
from stepaudio.decoder.snake import ResBlock
from stepaudio.decoder.source import HarmonicSource

_FINAL_SLOPE = 0.01
_MAX_MAGNITUDE = 100.0


class Hift(nn.Module):
    """The HiFT generator in its 22.05 kHz and 24 kHz forms (CosyVoice, arXiv 2407.05407).

    Parameters carry the reference's names with weight norm already folded in: `hift_weights.fold_weight_norm`
    turns a reference state dict into this one.
    """

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.config = config
        stages = len(config.upsample_rates)
        widths = [config.channels // 2**stage for stage in range(stages + 1)]
        self.f0_predictor = F0Predictor(config.mel_bins, config.f0_channels)
        self.m_source = HarmonicSource(config)
        self.conv_pre = nn.Conv1d(config.mel_bins, widths[0], 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(widths[i], widths[i + 1], kernel, rate, padding=(kernel - rate) // 2)
            for i, (rate, kernel) in enumerate(
                zip(config.upsample_rates, config.upsample_kernels, strict=True)
            )
        )
        # Stage i runs at 1 / (product of the later rates) of the last stage's rate; so must its source.
        later = list(accumulate([1, *config.upsample_rates[:0:-1]], mul))[::-1]
        self.source_downs = nn.ModuleList(
            nn.Conv1d(config.n_fft + 2, widths[i + 1], rate * 2, rate, padding=rate // 2)
            if rate > 1
            else nn.Conv1d(config.n_fft + 2, widths[i + 1], 1)
            for i, rate in enumerate(later)
        )
        self.source_resblocks = nn.ModuleList(
            ResBlock(widths[i + 1], kernel, dilations)
            for i, (kernel, dilations) in enumerate(
                zip(config.source_resblock_kernels, config.source_resblock_dilations, strict=True)
            )
        )
        blocks = list(zip(config.resblock_kernels, config.resblock_dilations, strict=True))
        self.resblocks = nn.ModuleList(ResBlock(width, k, d) for width in widths[1:] for k, d in blocks)
        self.conv_post = nn.Conv1d(widths[-1], config.n_fft + 2, 7, padding=3)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.window: Tensor

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform."""
        return self.config.sample_rate

    def excite(
        self,
        mel: Tensor,
        *,
        phase: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Make the source signal [batch, 1, samples] for a log-mel [batch, bins, frames].

        Args:
            mel: natural-log mel, [batch, bins, frames].
            phase: start phases [batch, harmonics + 1, 1] in radians; drawn from `generator` when None.
            noise: standard normal [batch, harmonics + 1, samples]; drawn from `generator` when None.
            generator: a CPU generator, for results that repeat.
        """
        batch, samples = mel.shape[0], mel.shape[-1] * self.config.samples_per_frame
        if phase is None:
            phase = self.m_source.initial_phase(batch, generator)
        if noise is None:
            noise = torch.randn(batch, self.config.harmonics + 1, samples, generator=generator)
        return self.m_source(self.f0_predictor(mel), phase.to(mel), noise.to(mel))

    def source_spectrum(self, source: Tensor) -> Tensor:
        """STFT of the source: real bins then imaginary bins, [batch, n_fft + 2, samples / hop + 1]."""
        n_fft, hop = self.config.n_fft, self.config.hop
        spectrum = torch.stft(source.squeeze(1), n_fft, hop, n_fft, window=self.window, return_complex=True)
        return torch.cat([spectrum.real, spectrum.imag], dim=1)

    def spectrum(self, mel: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Predict magnitude and phase, each [batch, n_fft / 2 + 1, samples / hop + 1]."""
        excitation = self.source_spectrum(source)
        per_stage = len(self.config.resblock_kernels)
        x = self.conv_pre(mel)
        last = len(self.ups) - 1
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, self.config.leaky_slope))
            if stage == last:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + self.source_resblocks[stage](self.source_downs[stage](excitation))
            blocks = self.resblocks[stage * per_stage : (stage + 1) * per_stage]
            x = torch.stack([block(x) for block in blocks]).mean(0)
        x = self.conv_post(F.leaky_relu(x, _FINAL_SLOPE))
        bins = self.config.n_fft // 2 + 1
        return x[:, :bins].exp(), x[:, bins:].sin()

    def waveform(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Inverse STFT to [batch, samples], limited to ±`config.limit`."""
        n_fft, hop, limit = self.config.n_fft, self.config.hop, self.config.limit
        spectrum = torch.polar(magnitude.clamp(max=_MAX_MAGNITUDE), phase)
        return torch.istft(spectrum, n_fft, hop, n_fft, window=self.window).clamp(-limit, limit)

    def forward(self, mel: Tensor, source: Tensor) -> Tensor:
        """Synthesise [batch, samples] from a log-mel [batch, bins, frames] and its source."""
        return self.waveform(*self.spectrum(mel, source))

    @torch.inference_mode()
    def synthesise(self, mel: Tensor, *, seed: int | None = None) -> Tensor:
        """Turn a whole log-mel [batch, bins, frames] into sound [batch, samples] in [-1, 1].

        Args:
            mel: natural-log mel.
            seed: makes the random phases and the noise repeat; None draws fresh ones.
        """
        if mel.shape[-1] == 0:
            return mel.new_zeros(mel.shape[0], 0)
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        return self(mel, self.excite(mel, generator=generator))
