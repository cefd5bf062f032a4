"""Writing a clip: a format by its suffix, whole or not at all."""

import contextlib
import io
import secrets
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stepaudio.audio.clip import Audio
from stepaudio.errors import AudioError

# libsndfile's Ogg writer keeps a whole call on the stack, so it gets the clip in pieces.
_PIECE_FRAMES = 2**16


@dataclass(frozen=True)
class _Format:
    """libsndfile's name of a format and the only rates it knows (Hz, ascending; empty: any)."""

    name: str
    subtype: str
    rates: tuple[int, ...] = ()


_OPUS = _Format("OGG", "OPUS", (8_000, 12_000, 16_000, 24_000, 48_000))
FORMATS = {
    ".wav": _Format("WAV", "PCM_16"),
    ".flac": _Format("FLAC", "PCM_16"),
    ".ogg": _OPUS,
    ".opus": _OPUS,
    ".mp3": _Format(
        "MP3", "MPEG_LAYER_III", (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
    ),
}


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples to 16-bit integers, rounded and clipped; exact for samples read from 16 bits."""
    scaled = np.rint(samples * np.float32(32768))
    clipped: np.ndarray = np.clip(scaled, -32768, 32767).astype("<i2")
    return clipped


def wav_bytes(clip: Audio) -> bytes:
    """See ``Audio.to_wav_bytes``."""
    buffer = io.BytesIO()
    _write_wav(clip, buffer)
    return buffer.getvalue()


def encoded(clip: Audio, suffix: str) -> bytes:
    """The bytes that ``Audio.save`` would write to a file of that suffix, such as ``.flac``.

    Raises:
        AudioError: the suffix is not known, the clip is empty, or it cannot be coded.
    """
    chosen = FORMATS.get(suffix)
    if chosen is None or not clip.samples.size:
        raise AudioError(f"cannot write {clip.samples.size} samples as {suffix}; use {', '.join(FORMATS)}")
    buffer = io.BytesIO()
    try:
        _encode(clip, chosen, buffer)
    except ValueError as error:
        raise AudioError(f"cannot be written as {suffix} ({error})") from None
    return buffer.getvalue()


def save(clip: Audio, path: Path) -> Path:
    """See ``Audio.save``."""
    chosen = FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise AudioError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(FORMATS)}"
        )
    if not clip.samples.size:
        raise AudioError(f"{path}: there is no sound to write (0 samples)")
    if path.is_dir():
        raise AudioError(f"{path}: is a directory")
    # In the same folder, because a rename is atomic only within one file system.
    partial = path.parent / f".{path.name[:100]}.{secrets.token_hex(4)}.part"
    try:
        with open(partial, "xb") as file:
            _encode(clip, chosen, file)
        partial.replace(path)
    except OSError as error:
        raise AudioError(f"{path}: cannot be written ({(error.strerror or str(error)).lower()})") from None
    except ValueError as error:
        raise AudioError(f"{path}: cannot be written ({error})") from None
    finally:
        with contextlib.suppress(OSError, ValueError):
            partial.unlink()
    return path


def _encode(clip: Audio, chosen: _Format, file: BinaryIO) -> None:
    if chosen.name == "WAV":
        _write_wav(clip, file)
        return
    import soundfile

    if chosen.rates and clip.sample_rate not in chosen.rates:
        higher = [rate for rate in chosen.rates if rate >= clip.sample_rate]
        clip = clip.resample(higher[0] if higher else chosen.rates[-1])
    try:
        with soundfile.SoundFile(file, "w", clip.sample_rate, 1, chosen.subtype, format=chosen.name) as sound:
            for start in range(0, clip.samples.size, _PIECE_FRAMES):
                piece = clip.samples[start : start + _PIECE_FRAMES]
                sound.write(to_int16(piece) if chosen.subtype == "PCM_16" else piece)
    except soundfile.SoundFileError as error:
        raise ValueError(str(error).rstrip(".")) from None


def _write_wav(clip: Audio, file: BinaryIO) -> None:
    if clip.samples.size * 2 > 2**32 - 100:
        raise ValueError("a WAV file cannot hold more than 4 GiB")
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(clip.sample_rate)
        out.writeframes(to_int16(clip.samples).tobytes())
