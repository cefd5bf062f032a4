"""Decoding with libsndfile, block by block; its header is never believed about the length."""

import io
from typing import BinaryIO

from stepaudio.audio.sink import BLOCK_VALUES, Sink
from stepaudio.errors import AudioError

# libsndfile's way of saying "no idea how many frames" (SF_COUNT_MAX and what rounding makes of it).
_UNKNOWN_FRAMES = 2**60
# libsndfile's numbers for "unsupported encoding", "unimplemented format" and an unknown WAV format tag.
_CODEC_CODES = (4, 18, 64)


class UnknownCodecError(AudioError):
    """libsndfile knows the container but not what is in it: another decoder may."""


class _View(io.RawIOBase):
    """A file from an offset on, with seeks outside it clamped.

    libsndfile calls these methods back from C, where an exception would be printed and lost.
    """

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._size = size - start
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._position, self._size)[whence]
        self._position = min(max(0, base + offset), self._size)
        return self._position

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        try:
            self._file.seek(self._start + self._position)
            data = self._file.read(min(len(buffer), self._size - self._position))
        except (OSError, ValueError):
            return 0
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def decode(file: BinaryIO, start: int, size: int, sink: Sink) -> None:
    """Push everything that the file holds from byte ``start`` on into ``sink``.

    Raises:
        UnknownCodecError: the file cannot be opened for want of its codec.
        AudioError: it cannot be opened, is damaged or ends early, or the sink has had enough.
    """
    import soundfile

    class Sequential(soundfile.SoundFile):
        """Read straight on: soundfile seeks after every block otherwise, which fails in a streamed FLAC."""

        def seekable(self) -> bool:
            return False

    try:
        sound = Sequential(_View(file, start, size))
    except (soundfile.SoundFileError, TypeError, ValueError, OverflowError) as error:
        if getattr(error, "code", None) in _CODEC_CODES:
            raise UnknownCodecError(f"its codec is not supported ({_reason(error)})") from None
        raise AudioError(f"damaged or not what it claims to be ({_reason(error)})") from None
    with sound:
        rate, channels = sound.samplerate, sound.channels
        if sound.subtype.startswith("MPEG") and sound.format != "MP3":
            raise UnknownCodecError("MP3 in another container")  # mpg123 would write to our stderr
        believable = sound.format != "MP3" or _has_length_header(file, start)
        promised = sound.frames if believable and sound.frames < _UNKNOWN_FRAMES else 0
        sink.expect(promised, rate)
        decoded = 0
        frames = max(1, BLOCK_VALUES // channels)
        while True:
            try:
                block = sound.read(frames, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, ValueError) as error:
                raise AudioError(
                    f"damaged or truncated after {decoded / rate:.2f} s ({_reason(error)})"
                ) from None
            if not block.shape[0]:
                break
            decoded += block.shape[0]
            sink.push(block, rate)
        # One MP3 frame of slack: encoders differ in counting the padding at the end.
        if decoded + (1152 if sound.format == "MP3" else 0) < promised:
            raise AudioError(
                f"truncated: {decoded / rate:.2f} s of the {promised / rate:.2f} s that its header promises"
            )


def _has_length_header(file: BinaryIO, start: int) -> bool:
    """Whether an MP3 begins with a Xing/Info or VBRI frame; without one its length is only a guess."""
    file.seek(start)
    head = file.read(512)
    return any(tag in head for tag in (b"Xing", b"Info", b"VBRI"))


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    if "regular file" in text:  # libsndfile's words for an MP3 without a frame in it
        return "no frame found"
    return text.removeprefix("Error : ").removeprefix("Error ") or type(error).__name__
