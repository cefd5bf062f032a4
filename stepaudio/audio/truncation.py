"""Does a file hold all the bytes that its header promises?

Decoders play a cut file up to the cut without a word, so the promise is read here, for the containers
that make one. MP3, AAC and AMR streams promise nothing (but see ``sndfile.py`` for MP3's Xing header).
"""

import math
import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

from stepaudio.audio.containers import Container

# Some writers miscount by the size of their own header; so small a gap takes nothing away.
TOLERATED_BYTES = 64
_MAX_CHUNKS = 10_000
_MAX_OGG_PAGE = 27 + 255 + 255 * 255
# Writers to a pipe cannot know the length and leave zero, or a number from here up.
_STREAMED = range(0x7FFFF000, 2**32)


@dataclass(frozen=True)
class _Layout:
    """A run of chunks: where it starts, and how each names its kind and length."""

    first: int
    id_bytes: int
    size_bytes: int
    order: Literal["little", "big"]
    align: int
    size_counts_header: bool = False


_RIFF = _Layout(12, 4, 4, "little", 2)
_BIG_ENDIAN_RIFF = _Layout(12, 4, 4, "big", 2)
_CAF = _Layout(8, 4, 8, "big", 1)
_W64 = _Layout(40, 16, 8, "little", 8, size_counts_header=True)


def missing_bytes(file: BinaryIO, container: Container, size: int) -> int:
    """How many bytes the header promises beyond the end of the file; 0 for a whole or endless one."""
    end = _promised_end(file, container, size)
    missing = end - size
    return missing if missing > TOLERATED_BYTES else 0


def _promised_end(file: BinaryIO, container: Container, size: int) -> int:
    start = container.start
    file.seek(start)
    magic = file.read(4)
    match container.name:
        case "WAV" if magic == b"RF64":
            return _rf64_end(file, start)
        case "WAV":
            return _chunk_end(file, start, _RIFF if magic == b"RIFF" else _BIG_ENDIAN_RIFF, b"data")
        case "AIFF":
            return _chunk_end(file, start, _BIG_ENDIAN_RIFF, b"SSND")
        case "CAF":
            return _chunk_end(file, start, _CAF, b"data")
        case "W64":
            return _chunk_end(file, start, _W64, b"data")
        case "NIST":
            return _nist_end(file, start)
        case "AU":
            return _au_end(file, start, "big" if magic == b".snd" else "little")
        case "MP4":
            return _mp4_end(file, start, size)
        case "Matroska":
            return _matroska_end(file, start)
        case "Ogg":
            return _ogg_end(file, size)
    return 0


def _chunk_end(file: BinaryIO, start: int, layout: _Layout, wanted: bytes) -> int:
    """Where the wanted chunk says it ends; 0 when there is none or its length is left open."""
    position = start + layout.first
    header = layout.id_bytes + layout.size_bytes
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(header)
        if len(head) < header:
            return 0
        length = int.from_bytes(head[layout.id_bytes :], layout.order)
        end = position + length + (0 if layout.size_counts_header else header)
        if head.startswith(wanted):
            return 0 if length == 0 or length in _STREAMED or length >= 2**63 else end
        if end <= position or end >= 2**62:
            return 0
        position = start + -(-(end - start) // layout.align) * layout.align
    return 0


def _rf64_end(file: BinaryIO, start: int) -> int:
    """RF64 keeps the real length of its data in the ``ds64`` chunk, which comes first."""
    file.seek(start + 12)
    head = file.read(24)
    data = _data_start(file, start)
    if head[:4] != b"ds64" or len(head) < 24 or not data:
        return 0
    length = int.from_bytes(head[16:24], "little")
    return data + length if length < 2**62 else 0


def _data_start(file: BinaryIO, start: int) -> int:
    position = start + 12
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return 0
        if head[:4] == b"data":
            return position + 8
        length = int.from_bytes(head[4:], "little")
        position += 8 + length + length % 2
    return 0


def _au_end(file: BinaryIO, start: int, order: Literal["little", "big"]) -> int:
    file.seek(start + 4)
    head = file.read(8)
    offset, length = int.from_bytes(head[:4], order), int.from_bytes(head[4:], order)
    return 0 if length == 0 or length in _STREAMED else start + offset + length


def _nist_end(file: BinaryIO, start: int) -> int:
    """NIST SPHERE counts its samples in text; a compressed one (shorten) cannot be told from that."""
    file.seek(start)
    text = file.read(1024)
    fields = dict(re.findall(rb"^(\w+) -i (\d{1,12})\s*$", text, re.MULTILINE))
    values = [int(fields.get(name, 0)) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    return start + 1024 + math.prod(values) if b"shorten" not in text else 0


def _mp4_end(file: BinaryIO, start: int, size: int) -> int:
    """The end of the last box; boxes of length 0 run to the end of the file."""
    position = start
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return position
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8 or not head[4:8].isascii():
            return 0
        position += length
        if position >= size:
            return position if position < 2**62 else 0
    return 0


def _matroska_end(file: BinaryIO, start: int) -> int:
    """The end of the segment, the second element; a live recording leaves its length open."""
    position = start + 4
    length, width = _ebml_length(file, position)
    position += width + length
    file.seek(position)
    if position >= 2**62 or file.read(4) != b"\x18\x53\x80\x67":
        return 0
    length, width = _ebml_length(file, position + 4)
    unknown = width == 0 or length == (1 << 7 * width) - 1
    return 0 if unknown else position + 4 + width + length


def _ebml_length(file: BinaryIO, position: int) -> tuple[int, int]:
    """An EBML length and how many bytes it takes: the leading zeros of its first byte, plus one."""
    file.seek(position)
    head = file.read(8)
    width = 9 - head[0].bit_length() if head and head[0] else 0
    if not 1 <= width <= len(head):
        return 0, 0
    return int.from_bytes(head[:width], "big") & ((1 << 7 * width) - 1), width


def _ogg_end(file: BinaryIO, size: int) -> int:
    """The end of the last page, by its own table of segments."""
    tail_start = max(0, size - _MAX_OGG_PAGE)
    file.seek(tail_start)
    tail = file.read(_MAX_OGG_PAGE)
    page = tail.rfind(b"OggS\x00")
    if page < 0:
        return 0
    table = tail[page + 27 : page + 27 + tail[page + 26]] if page + 26 < len(tail) else b""
    header_end = page + 27 + (tail[page + 26] if page + 26 < len(tail) else TOLERATED_BYTES)
    # A last page cut within the tolerance is still cut: its checksum fails and its packets are lost.
    end = tail_start + header_end + sum(table)
    return end + TOLERATED_BYTES if end > size else end
