"""The clip that every part of the package hands to the next: mono float32 samples and their rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from stepaudio.audio.limits import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, Limits
from stepaudio.errors import AudioError

Mix = Literal["mean", "first"]

# A float file may overshoot 1 or hold int16-scaled values; beyond that it is noise from a damaged file.
MAX_AMPLITUDE = 2.0**16


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono clip.

    Attributes:
        samples: float32, shape ``(n,)``, nominal range [-1, 1], finite.
        sample_rate: Hz, 1,000 to 768,000.

    Raises:
        AudioError: samples of another type or shape, not finite or absurdly large, or an unusable rate.
    """

    samples: np.ndarray
    sample_rate: int

    def __post_init__(self) -> None:
        samples, rate = self.samples, self.sample_rate
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 1:
            raise AudioError(
                "samples must be a one-dimensional float32 array; Audio.from_array converts others"
            )
        if isinstance(rate, bool) or not isinstance(rate, int | np.integer):
            raise AudioError(f"the sample rate must be a whole number of Hz, not {rate!r}")
        check_rate(int(rate))
        object.__setattr__(self, "sample_rate", int(rate))
        # Comparing the extremes catches NaN and infinity too, without a temporary array.
        if samples.size and not (samples.min() >= -MAX_AMPLITUDE and samples.max() <= MAX_AMPLITUDE):
            raise AudioError(_describe_bad(samples))

    def __repr__(self) -> str:
        return f"Audio({self.seconds:.2f} s, {self.sample_rate} Hz)"

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.size / self.sample_rate

    @property
    def peak(self) -> float:
        """Largest magnitude; 0.0 for an empty clip."""
        return float(max(self.samples.max(), -self.samples.min())) if self.samples.size else 0.0

    @property
    def rms_db(self) -> float:
        """Root mean square level in dB relative to full scale; minus infinity for silence."""
        power = float(np.mean(np.square(self.samples, dtype=np.float64))) if self.samples.size else 0.0
        return 10 * math.log10(power) if power > 0 else -math.inf

    @classmethod
    def read(
        cls,
        source: str | Path | bytes | BinaryIO,
        *,
        sample_rate: int | None = None,
        limits: Limits | None = None,
        mix: Mix = "mean",
    ) -> "Audio":
        """Decode a sound file to mono.

        WAV, AIFF, AU, CAF, W64, RF64, NIST, FLAC, Ogg (Vorbis, Opus, FLAC), MP3, MP4/M4A/MOV/3GP,
        Matroska/WebM, AAC (ADTS), AMR and WMA are recognised by their content, never by their name.
        Nothing but the given bytes is ever opened: no playlist, no reference to another file, no URL.

        Args:
            source: a path, the bytes of a file, or a binary file object (read from where it stands).
            sample_rate: resample to this rate in Hz; ``None`` keeps the file's own.
            limits: the caps; ``Limits()`` when ``None``.
            mix: how several channels become one: their mean, or the first alone.

        Raises:
            AudioError: one line naming the source and the reason, whatever is wrong with it: missing,
                a directory or device, empty, not audio, damaged, truncated, samples that are not
                finite, or beyond the caps.
        """
        from stepaudio.audio.reading import read

        samples, rate = read(source, sample_rate, limits or Limits(), mix)
        return cls(samples, rate)

    @classmethod
    def from_array(cls, array: Any, sample_rate: int, *, mix: Mix = "mean") -> "Audio":
        """Make a clip of any array of samples (NumPy, a CPU tensor, nested lists of floats).

        Args:
            array: shape ``(n,)``, ``(n, channels)`` or ``(channels, n)``: the shorter axis is the
                channels, and of two equal axes the last. Floats are taken as they are; 8, 16 and
                32-bit integers are full scale, unsigned ones around their middle.
            sample_rate: Hz.
            mix: how several channels become one: their mean, or the first alone.

        Raises:
            AudioError: another number type or shape, values that are not finite, an unusable rate.
        """
        block = to_float32(np.asarray(array))
        if block.ndim == 2:
            frames = block if block.shape[1] <= block.shape[0] else block.T
            block = mix_down(frames, mix)
        if block.ndim != 1:
            raise AudioError(
                f"an array of shape {block.shape} is not a clip: use (n,), (n, channels) or (channels, n)"
            )
        return cls(np.array(block, dtype=np.float32, order="C"), sample_rate)

    def resample(self, sample_rate: int) -> "Audio":
        """The same clip at another rate (soxr, HQ); the clip itself when the rate is already that."""
        if sample_rate == self.sample_rate:
            return self
        check_rate(sample_rate)
        import soxr

        resampled = soxr.resample(self.samples, self.sample_rate, sample_rate, quality="HQ")
        return Audio(np.asarray(resampled, dtype=np.float32), sample_rate)

    def save(self, path: str | Path) -> Path:
        """Write the clip and return its path; the format follows the suffix.

        ``.wav`` and ``.flac`` hold 16 bits, ``.ogg`` and ``.opus`` hold Opus, ``.mp3`` holds MP3. Opus
        and MP3 know only some rates: the clip is resampled to the next higher one. The file appears
        whole or not at all.

        Raises:
            AudioError: an unknown suffix, an empty clip, or a place that cannot be written.
        """
        from stepaudio.audio.writing import save

        return save(self, Path(path))

    def to_wav_bytes(self) -> bytes:
        """The clip as a complete 16-bit WAV file."""
        from stepaudio.audio.writing import wav_bytes

        return wav_bytes(self)


def concat(clips: Sequence[Audio]) -> Audio:
    """Join clips of one rate end to end.

    Raises:
        AudioError: no clips, or clips of different rates.
    """
    rates = {clip.sample_rate for clip in clips}
    if len(rates) != 1:
        what = f"rates {sorted(rates)}" if rates else "no clips"
        raise AudioError(f"only clips of one sample rate can be joined, not {what}")
    return Audio(np.concatenate([clip.samples for clip in clips]), rates.pop())


def check_rate(rate: int) -> None:
    """Refuse a sample rate that no sound we can use has."""
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"sample rate {rate} Hz is outside {MIN_SAMPLE_RATE}-{MAX_SAMPLE_RATE} Hz")


def to_float32(array: np.ndarray) -> np.ndarray:
    """Samples of any usual number type as float32 in the nominal range [-1, 1], same shape."""
    kind, bits = array.dtype.kind, array.dtype.itemsize * 8
    if kind == "f":
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused by Audio
            return array.astype(np.float32, copy=False)
    if kind in "iu" and bits <= 32:
        middle = 2.0 ** (bits - 1)
        # 32-bit integers pass through float64, so that each is rounded once.
        wide = np.float32 if bits <= 16 else np.float64
        centred = np.subtract(array, middle if kind == "u" else 0.0, dtype=wide)
        return np.asarray(centred / middle, dtype=np.float32)
    raise AudioError(
        f"samples of type {array.dtype} have no known full scale: use floats or 8, 16 or 32-bit integers"
    )


def mix_down(block: np.ndarray, mix: Mix) -> np.ndarray:
    """``(n, channels)`` float32 to ``(n,)``."""
    if mix == "first" or block.shape[1] == 1:
        return block[:, 0]
    if mix != "mean":
        raise AudioError(f"mix must be 'mean' or 'first', not {mix!r}")
    with np.errstate(over="ignore", invalid="ignore"):  # refused by Audio when it is not finite
        mean: np.ndarray = block.mean(axis=1, dtype=np.float32)
    return mean


def _describe_bad(samples: np.ndarray) -> str:
    bad = np.count_nonzero(~np.isfinite(samples))
    if bad:
        return f"{bad} of {samples.size} samples are not finite numbers (NaN or infinity)"
    return f"samples as large as {np.abs(samples).max():.3g} are not sound (full scale is 1)"
