"""What a file is, by its first bytes.

Only the containers in this list are ever handed to a native decoder, and each only to the one parser
named here: a playlist or image that calls itself audio never reaches a library that would open it.
"""

from dataclasses import dataclass
from typing import BinaryIO, Literal

HEAD_BYTES = 32


@dataclass(frozen=True)
class Container:
    """How to decode one kind of file.

    Attributes:
        name: what people call it.
        decoder: ``sndfile`` in this process, ``sndfile-guarded`` or ``ffmpeg`` in a guarded child.
        demuxer: FFmpeg's name of the parser, for the ``ffmpeg`` decoder or as the second choice when
            libsndfile does not know the codec; empty where there is none.
        start: bytes to skip before the container begins (an ID3 tag).
    """

    name: str
    decoder: Literal["sndfile", "sndfile-guarded", "ffmpeg"]
    demuxer: str = ""
    start: int = 0


_EBML = b"\x1a\x45\xdf\xa3"
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")


def recognise(file: BinaryIO) -> Container | None:
    """Tell the container from the first bytes, or ``None``."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    start = 0
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
        start = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
        file.seek(start)
        head = file.read(HEAD_BYTES)
    return _by_magic(head, start)


def _by_magic(head: bytes, start: int) -> Container | None:
    kind, form = head[:4], head[8:12]
    if kind in (b"RIFF", b"RIFX", b"RF64") and form == b"WAVE":
        return Container("WAV", "sndfile", "wav" if kind != b"RIFX" else "", start)
    if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        return Container("AIFF", "sndfile", "aiff", start)
    if kind == b"fLaC":
        return Container("FLAC", "sndfile", "", start)
    if kind == b"OggS":
        return Container("Ogg", "sndfile", "ogg", start)
    if kind in (b".snd", b"dns."):
        return Container("AU", "sndfile", "", start)
    if kind == b"caff":
        return Container("CAF", "sndfile", "caf", start)
    if head[:12] == _W64:
        return Container("W64", "sndfile", "", start)
    if head[:7] == b"NIST_1A":
        return Container("NIST", "sndfile", "", start)
    if head[4:8] in _MP4_BOXES:
        return Container("MP4", "ffmpeg", "mov", start)
    if kind == _EBML:
        return Container("Matroska", "ffmpeg", "matroska", start)
    if head[:8] == _ASF:
        return Container("WMA", "ffmpeg", "asf", start)
    if head[:5] == b"#!AMR":
        return Container("AMR", "ffmpeg", "amr", start)
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return Container("AAC", "ffmpeg", "aac", start)
    # MPEG layer I-III, with a bit rate and a sample rate that exist.
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 0x08:
        if head[1] & 0x06 and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C:
            return Container("MP3", "sndfile-guarded", "", start)
    elif start and any(head):
        # Junk after the tag: MP3 players look further, and so does the decoder.
        return Container("MP3", "sndfile-guarded", "", start)
    return None
