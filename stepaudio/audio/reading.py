"""From a path, bytes or file object to samples, with one clear error for whatever may be wrong."""

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stepaudio.audio.clip import Audio, Mix, check_rate
from stepaudio.audio.containers import Container, recognise
from stepaudio.audio.guard import decode_guarded
from stepaudio.audio.limits import Limits
from stepaudio.audio.sink import Sink, too_big
from stepaudio.audio.sndfile import UnknownCodecError, decode
from stepaudio.audio.truncation import missing_bytes
from stepaudio.errors import AudioError

_PIECE_BYTES = 2**20


def read(
    source: str | Path | bytes | BinaryIO, sample_rate: int | None, limits: Limits, mix: Mix
) -> tuple[np.ndarray, int]:
    """See ``Audio.read``; returns float32 samples ``(n,)`` and their rate in Hz."""
    if mix not in ("mean", "first"):
        raise AudioError(f"mix must be 'mean' or 'first', not {mix!r}")
    if sample_rate is not None:
        check_rate(sample_rate)
    name = _name(source)
    try:
        with _open(source, limits) as file:
            samples, rate = _decode(file, sample_rate, limits, mix)
        Audio(samples, rate)  # its checks belong under the name of the file
    except AudioError as error:
        raise AudioError(f"{name}: {_one_line(str(error))}") from None
    except OSError as error:
        raise AudioError(f"{name}: {_os_reason(error)}") from None
    return samples, rate


def _decode(file: BinaryIO, sample_rate: int | None, limits: Limits, mix: Mix) -> tuple[np.ndarray, int]:
    size = file.seek(0, io.SEEK_END)
    if size == 0:
        raise AudioError("is empty (0 bytes)")
    if size > limits.max_encoded_bytes:
        raise too_big(limits)
    container = recognise(file)
    if container is None:
        raise AudioError(f"is not audio of a known kind{_looks_like(file)}")
    missing = missing_bytes(file, container, size)
    if missing:
        raise AudioError(f"truncated: {missing:,} bytes short of what its {container.name} header promises")
    if container.decoder == "sndfile":
        sink = Sink(sample_rate, limits, mix)
        try:
            decode(file, container.start, size, sink)
        except UnknownCodecError as error:
            if not container.demuxer:
                raise _in(container, error) from None
        except AudioError as error:
            raise _in(container, error) from None
        else:
            return sink.finish()
    decoder = "ffmpeg" if container.demuxer else "sndfile"
    try:
        return decode_guarded(file, decoder, container.demuxer, container.start, sample_rate, limits, mix)
    except AudioError as error:
        raise _in(container, error) from None


def _open(source: object, limits: Limits) -> BinaryIO:
    """The source as a seekable file of which no more is held or read than the cap."""
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source))
    if isinstance(source, bytes | bytearray | memoryview):
        if len(source) > limits.max_encoded_bytes:
            raise too_big(limits)
        return io.BytesIO(source)
    if not hasattr(source, "read"):
        raise AudioError(
            f"audio is read from a path, bytes or a binary file, not from {type(source).__name__}"
        )
    held = bytearray()
    try:
        while piece := source.read(_PIECE_BYTES):
            held += piece
            if len(held) > limits.max_encoded_bytes:
                raise too_big(limits)
    except (TypeError, ValueError) as error:
        raise AudioError(f"cannot be read as a binary file ({error})") from None
    return io.BytesIO(held)


def _open_path(path: str | bytes) -> BinaryIO:
    text = os.fsdecode(path)
    if "://" in text and not Path(text).exists():
        raise AudioError("addresses are not fetched; give a file")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_CLOEXEC", 0)
    try:
        # Without O_NONBLOCK a pipe nobody writes to would hang us before we can see what it is.
        descriptor = os.open(path, flags)
    except ValueError as error:
        raise AudioError(str(error)) from None
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise AudioError("is a directory" if stat.S_ISDIR(kind) else "is not a regular file")
    return open(descriptor, "rb")


def _in(container: Container, error: AudioError) -> AudioError:
    return AudioError(f"{error} [{container.name}]")


def _looks_like(file: BinaryIO) -> str:
    """A hint for the commonest mistakes."""
    file.seek(0)
    head = file.read(512)
    if not any(head):
        return " (it begins with zeros)"
    if all(byte in b"\t\n\r\f" or byte >= 32 for byte in head) and b"\x7f" not in head:
        return " (it looks like text)"
    return ""


def _name(source: object) -> str:
    if isinstance(source, str | os.PathLike):
        return _one_line(os.fsdecode(source)) or "''"
    name = getattr(source, "name", None)
    return _one_line(name) if isinstance(name, str) and name else "audio"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _os_reason(error: OSError) -> str:
    plain = {
        errno.ENOENT: "no such file",
        errno.EACCES: "may not be read (permission denied)",
        errno.EISDIR: "is a directory",
        errno.ENXIO: "is not a regular file",
    }
    return plain.get(error.errno or 0, str(error.strerror or error).lower())
