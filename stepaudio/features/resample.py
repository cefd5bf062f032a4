"""Band-limited resampling in torch, equal to torchaudio's ``Resample`` with its default settings.

The official checkpoints were trained behind that filter, so parity needs it; everything else in the
package resamples with soxr (:meth:`stepaudio.audio.Audio.resample`).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

LOWPASS_WIDTH = 6
"""Zero crossings of the sinc on each side."""
ROLLOFF = 0.99
"""Cut-off as a fraction of the lower Nyquist frequency."""
MAX_COEFFICIENTS = 2**22
"""Rates with no large common divisor (44101 Hz) would need gigabytes of filters; usual ones need few."""


@lru_cache(maxsize=16)
def _kernel(source: int, target: int) -> tuple[Tensor, int]:
    """Polyphase filters (target, 1, taps), float32, and the padding on each side in samples."""
    base = min(source, target) * ROLLOFF
    width = math.ceil(LOWPASS_WIDTH * source / base)
    taps = torch.arange(-width, width + source, dtype=torch.float64)[None, None] / source
    phases = torch.arange(0, -target, -1, dtype=torch.float64)[:, None, None] / target
    t = ((phases + taps) * base).clamp_(-LOWPASS_WIDTH, LOWPASS_WIDTH)
    window = torch.cos(t * math.pi / LOWPASS_WIDTH / 2) ** 2
    return (torch.sinc(t) * window * (base / source)).float(), width


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Change the sample rate with a Hann-windowed sinc filter.

    Args:
        waveform: (..., samples), float32.
        source_rate: rate of ``waveform`` in Hz, above zero.
        target_rate: wanted rate in Hz, above zero.

    Returns:
        (..., ceil(samples * target_rate / source_rate)), float32; the input itself when the rates agree.

    Raises:
        ValueError: if a rate is not positive or the two are not :func:`practical`.
    """
    if source_rate == target_rate and source_rate > 0:
        return waveform
    resampler = Resampler(source_rate, target_rate)
    kernel, width = _kernel(resampler.source, resampler.target)
    shape, samples = waveform.shape[:-1], waveform.shape[-1]
    flat = pad(waveform.reshape(math.prod(shape), samples), (width, width + resampler.source))
    return resampler.filter(flat, kernel)[:, : resampler.length(samples)].reshape(*shape, -1)


@dataclass
class ResampleState:
    """Sound that the filter still needs.

    Attributes:
        sound: (n,), float32, from the first tap of the next output on.
        seen: samples taken in.
        given: samples put out.
    """

    sound: Tensor
    seen: int = 0
    given: int = 0


def practical(source_rate: int, target_rate: int) -> bool:
    """Whether this filter has a sensible size for these rates; soxr serves the others."""
    divisor = math.gcd(source_rate, target_rate)
    return source_rate // divisor * (target_rate // divisor) <= MAX_COEFFICIENTS


class Resampler:
    """The filter of :func:`resample`, chunk by chunk; equal to resampling the whole.

    Raises:
        ValueError: if a rate is not positive or the two are not :func:`practical`.
    """

    def __init__(self, source_rate: int, target_rate: int):
        if source_rate <= 0 or target_rate <= 0:
            raise ValueError(f"sample rates must be positive, got {source_rate} and {target_rate}")
        if not practical(source_rate, target_rate):
            raise ValueError(f"{source_rate} to {target_rate} Hz needs too large a filter; use soxr")
        divisor = math.gcd(source_rate, target_rate)
        self.source, self.target = source_rate // divisor, target_rate // divisor

    def length(self, samples: int) -> int:
        """Samples put out for ``samples`` taken in."""
        return -(-self.target * samples // self.source)

    def start(self) -> ResampleState:
        """State of a new stream."""
        return ResampleState(torch.zeros(0 if self.source == self.target else self._width))

    def push(self, state: ResampleState, samples: Tensor) -> Tensor:
        """What can be said for certain after ``samples`` (n,), float32; it lags by the filter's width."""
        state.seen += len(samples)
        if self.source == self.target:
            return samples
        state.sound = torch.cat([state.sound, samples])
        kernel, _ = _kernel(self.source, self.target)
        steps = (len(state.sound) - kernel.shape[-1]) // self.source + 1
        if steps < 1:
            return samples.new_zeros(0)
        out = self.filter(state.sound[None], kernel)[0]
        state.sound = state.sound[steps * self.source :].clone()
        state.given += len(out)
        return out

    def finish(self, state: ResampleState) -> Tensor:
        """The rest; the state is used up."""
        if self.source == self.target:
            return state.sound
        wanted, given, seen = self.length(state.seen), state.given, state.seen
        out = self.push(state, state.sound.new_zeros(self._width + 2 * self.source))
        state.seen = seen
        return out[: wanted - given]

    def filter(self, sound: Tensor, kernel: Tensor) -> Tensor:
        """Whole steps of the filter over ``sound`` (batch, n), at the target rate."""
        filtered = conv1d(sound[:, None], kernel.to(sound.device), stride=self.source)
        return filtered.transpose(1, 2).flatten(1)

    @property
    def _width(self) -> int:
        return _kernel(self.source, self.target)[1]
