"""Sound files for tests, made on the spot: every container we read, and ways to damage them."""

import io
import random
import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
import soundfile

SNDFILE_KINDS = {
    "wav-pcm16": ("WAV", "PCM_16"),
    "wav-pcm24": ("WAV", "PCM_24"),
    "wav-pcm32": ("WAV", "PCM_32"),
    "wav-pcm8": ("WAV", "PCM_U8"),
    "wav-float": ("WAV", "FLOAT"),
    "wav-double": ("WAV", "DOUBLE"),
    "wav-mulaw": ("WAV", "ULAW"),
    "wav-adpcm": ("WAV", "IMA_ADPCM"),
    "wav-extensible": ("WAVEX", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "nist": ("NIST", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg-vorbis": ("OGG", "VORBIS"),
    "ogg-opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
# Container, codec, and the rate the codec insists on.
FFMPEG_KINDS = {
    "m4a-aac": ("ipod", "aac", 0),
    "mp4-opus": ("mp4", "libopus", 48_000),
    "mov-alac": ("mov", "alac", 0),
    "mov-pcm": ("mov", "pcm_s16le", 0),
    "webm-opus": ("webm", "libopus", 48_000),
    "mkv-pcm": ("matroska", "pcm_s16le", 0),
    "aac-adts": ("adts", "aac", 0),
    "amr": ("amr", "libopencore_amrnb", 8_000),
    "wav-mp2": ("wav", "mp2", 0),
    "wma": ("asf", "wmav2", 44_100),
}
KINDS = (*SNDFILE_KINDS, *FFMPEG_KINDS)
# Those that this process reads, and those that a guarded child reads.
DIRECT = sorted(set(SNDFILE_KINDS) - {"mp3"})
GUARDED = sorted({*FFMPEG_KINDS, "mp3"})
LOSSLESS = {"flac", "rf64", "w64", "aiff", "au", "caf", "nist", "mov-alac", "mov-pcm", "mkv-pcm"} | {
    kind for kind in SNDFILE_KINDS if kind.startswith("wav-pcm") or kind in ("wav-float", "wav-double")
}


def tone(seconds: float = 1.0, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    """A sine at 0.3 that glides a little, so that a shift cannot hide; float32 ``(n,)``."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * (hertz * t + 100 * t * t))).astype(np.float32)


@cache
def encoded(kind: str, seconds: float = 1.0, rate: int = 16_000, channels: int = 1) -> bytes:
    """A whole file of the given kind."""
    samples = tone(seconds, rate)
    if kind in SNDFILE_KINDS:
        container, subtype = SNDFILE_KINDS[kind]
        return with_soundfile(np.stack([samples] * channels, axis=1), rate, container, subtype)
    container, codec, own_rate = FFMPEG_KINDS[kind]
    return with_ffmpeg(samples, rate, container, codec, own_rate or rate)


def with_soundfile(samples: np.ndarray, rate: int, container: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate, samples.shape[1] if samples.ndim > 1 else 1, subtype, format=container
    ) as out:
        for start in range(0, len(samples), 65536):
            out.write(samples[start : start + 65536])
    return buffer.getvalue()


def with_ffmpeg(samples: np.ndarray, rate: int, container: str, codec: str, out_rate: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=out_rate, layout="mono")
        if codec.startswith("wma"):
            stream.bit_rate = 64_000
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(
            (samples[None] * 32767).astype(np.int16), format="s16p", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(
            stream.codec_context.format.name,
            "mono",
            out_rate,
            frame_size=stream.codec_context.frame_size or None,
        )
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            for packet in stream.encode(piece):
                out.mux(packet)
    return buffer.getvalue()


def wav(
    data: bytes,
    *,
    rate: int = 16_000,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,
    promise: int | None = None,
) -> bytes:
    """A WAV file whose header says what we want it to say."""
    block = channels * bits // 8 % 65_536
    head = struct.pack("<HHIIHH", tag, channels, rate, rate * block % 2**32, block, bits)
    length = len(data) if promise is None else promise
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", min(len(body), 2**32 - 1)) + body


@dataclass(frozen=True)
class Edit:
    """One way to damage a file; places are fractions of its length, so that it fits every file."""

    how: str
    place: float
    amount: int
    value: int


HOWS = ("flip", "truncate", "insert", "header", "duplicate", "delete", "zero", "number")


def damage(data: bytes, edits: list[Edit]) -> bytes:
    """Apply the edits in turn."""
    for edit in edits:
        if not data:
            break
        data = _damage_once(data, edit)
    return data


def _damage_once(data: bytes, edit: Edit) -> bytes:
    at = min(int(edit.place * len(data)), len(data) - 1)
    span = min(edit.amount, len(data) - at)
    near = int(edit.place * min(len(data), 128))  # headers are where parsers believe things
    noise = random.Random(edit.value).randbytes(edit.amount)
    odd = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)[edit.value % 9]
    number = odd.to_bytes(4, "little" if edit.value % 2 else "big")
    match edit.how:
        case "flip":
            return data[:at] + bytes([data[at] ^ (1 << edit.value % 8)]) + data[at + 1 :]
        case "truncate":
            return data[:at]
        case "insert":
            return data[:at] + noise + data[at:]
        case "header":
            return data[:near] + bytes([edit.value % 256]) + data[near + 1 :]
        case "duplicate":
            return data[: at + span] + data[at:]
        case "delete":
            return data[:at] + data[at + span :]
        case "zero":
            return data[:at] + bytes(span) + data[at + span :]
        case "number":
            place = near if edit.value % 3 else at
            return data[:place] + number + data[place + 4 :]
    raise ValueError(edit.how)


def random_edits(source: random.Random) -> list[Edit]:
    """One to four edits."""
    return [
        Edit(source.choice(HOWS), source.random(), source.randint(1, 2000), source.getrandbits(32))
        for _ in range(source.choice((1, 1, 1, 2, 2, 3, 4)))
    ]
