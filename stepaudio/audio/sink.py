"""Where decoded blocks go: counted against the caps, mixed, resampled and kept, block by block."""

import numpy as np

from stepaudio.audio.clip import Mix, check_rate, mix_down
from stepaudio.audio.limits import Limits
from stepaudio.errors import AudioError

# Values in one decoded block, all channels together: 4 MiB of float32.
BLOCK_VALUES = 2**20


class Sink:
    """Collects one clip; memory is bounded by the caps however large a block's source claims to be."""

    def __init__(self, sample_rate: int | None, limits: Limits, mix: Mix) -> None:
        self._target = sample_rate
        self._limits = limits
        self._mix = mix
        self._rate = 0
        self._frames = 0
        self._bytes = 0
        # A bytearray grows in place, where a list of arrays would be copied whole at the end.
        self._kept = bytearray()
        self._resampler = None

    def expect(self, frames: int, rate: int) -> None:
        """Refuse at once a header that promises more than the cap: it is too long, or it lies."""
        check_rate(rate)
        if frames > self._limits.max_seconds * rate:
            raise too_long(self._limits)

    def push(self, block: np.ndarray, rate: int) -> None:
        """Take ``(n, channels)`` float32 samples at ``rate`` Hz."""
        check_rate(rate)
        if not self._rate:
            self._start(rate)
        if rate != self._rate:
            raise AudioError(f"the sample rate changes from {self._rate} to {rate} Hz within the file")
        self._frames += block.shape[0]
        self._bytes += block.shape[0] * block.shape[1] * 4
        self.expect(self._frames, rate)
        if self._bytes > self._limits.max_decoded_bytes:
            raise AudioError(
                f"decodes to more than the limit of {_mebibytes(self._limits.max_decoded_bytes)}"
            )
        self._keep(mix_down(block, self._mix), last=False)

    def finish(self) -> tuple[np.ndarray, int]:
        """The samples, float32 ``(n,)``, and their rate in Hz."""
        if not self._frames:
            raise AudioError("holds no sound (0 samples)")
        if self._resampler is not None:
            self._keep(np.zeros(0, np.float32), last=True)
        return np.frombuffer(self._kept, dtype=np.float32), self._target or self._rate

    def _start(self, rate: int) -> None:
        self._rate = rate
        if self._target is not None and self._target != rate:
            import soxr

            check_rate(self._target)
            self._resampler = soxr.ResampleStream(rate, self._target, 1, dtype="float32", quality="HQ")

    def _keep(self, samples: np.ndarray, *, last: bool) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples), last=last)
        self._kept += samples.astype(np.float32, copy=False).tobytes()


def too_long(limits: Limits) -> AudioError:
    """The error for sound beyond the cap on seconds."""
    seconds = limits.max_seconds
    limit = f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"
    return AudioError(f"longer than the limit of {limit}")


def too_big(limits: Limits) -> AudioError:
    """The error for a file beyond the cap on encoded bytes."""
    return AudioError(f"larger than the limit of {_mebibytes(limits.max_encoded_bytes)}")


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:g} MiB"
