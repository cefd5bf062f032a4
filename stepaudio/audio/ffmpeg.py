"""Decoding with FFmpeg (PyAV) what libsndfile cannot: MP4, WebM, AAC, AMR, WMA and odd codecs.

The parser is named by us, never guessed; only the codecs below may run; nothing else can be opened.
Call it in the guarded child (``guard.py``): FFmpeg trusts some lengths in its files.
"""

from typing import BinaryIO

import numpy as np

from stepaudio.audio.clip import to_float32
from stepaudio.audio.sink import BLOCK_VALUES, Sink
from stepaudio.errors import AudioError

CODECS = (
    "aac", "ac3", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "alac", "amrnb", "amrwb", "eac3", "flac",
    "g722", "gsm", "gsm_ms", "libopencore_amrnb", "libopencore_amrwb", "libopus", "mp2", "mp3", "mp3float",
    "opus", "pcm_alaw", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le", "pcm_mulaw", "pcm_s16be",
    "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le", "pcm_s8", "pcm_u8", "speex", "vorbis",
    "wmapro", "wmav1", "wmav2",
)  # fmt: skip


def decode(file: BinaryIO, demuxer: str, sink: Sink) -> None:
    """Push the first audio track of the file into ``sink``.

    Raises:
        AudioError: no audio track, a codec that is not allowed, damage, or the sink has had enough.
    """
    import av

    av.logging.set_level(None)
    options = {
        "codec_whitelist": ",".join(CODECS),
        "format_whitelist": demuxer,
        "protocol_whitelist": "none",
        "max_streams": "16",
    }
    file.seek(0)
    try:
        with av.open(
            file, "r", format=demuxer, container_options=options, metadata_errors="ignore"
        ) as container:
            if not container.streams.audio:
                raise AudioError("has no audio track")
            stream = container.streams.audio[0]
            codec = stream.codec_context.name if stream.codec_context else "unknown"
            if codec not in CODECS:
                raise AudioError(f"its codec ({codec}) is not supported")
            stream.codec_context.thread_count = 1
            # One frame may not hold more than a block: lossless codecs believe their header about it.
            stream.codec_context.options = {"max_samples": str(16 * BLOCK_VALUES)}
            for frame in container.decode(stream):
                sink.push(_samples(frame), frame.sample_rate)
    except (av.error.FFmpegError, ValueError, OverflowError, EOFError) as error:
        raise AudioError(f"damaged or truncated ({_reason(error)})") from None


def _samples(frame) -> np.ndarray:  # type: ignore[no-untyped-def]
    """A decoded frame as float32 ``(n, channels)``."""
    channels = frame.layout.nb_channels
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    return to_float32(values)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0]
