"""Band-limited resampling in torch, equal to torchaudio's ``Resample`` with its default settings.

The official checkpoints were trained behind that filter, so parity needs it; everything else in the
package resamples with soxr (:meth:`stepaudio.audio.Audio.resample`).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

LOWPASS_WIDTH = 6
"""Zero crossings of the sinc on each side."""
ROLLOFF = 0.99
"""Cut-off as a fraction of the lower Nyquist frequency."""


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
        ValueError: if a rate is not positive.
    """
    if source_rate <= 0 or target_rate <= 0:
        raise ValueError(f"sample rates must be positive, got {source_rate} and {target_rate}")
    if source_rate == target_rate:
        return waveform
    divisor = math.gcd(source_rate, target_rate)
    source, target = source_rate // divisor, target_rate // divisor
    kernel, width = _kernel(source, target)
    shape, samples = waveform.shape[:-1], waveform.shape[-1]
    flat = pad(waveform.reshape(math.prod(shape), 1, samples), (width, width + source))
    filtered = conv1d(flat, kernel.to(flat.device), stride=source)
    length = -(-target * samples // source)
    return filtered.transpose(1, 2).reshape(*shape, -1)[..., :length]
