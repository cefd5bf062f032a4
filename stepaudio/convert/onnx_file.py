"""A quick look whether a file is a whole ONNX model, without loading half a gigabyte of it."""

from pathlib import Path
from typing import BinaryIO

from stepaudio.errors import ModelError

_GRAPH = 7
_FIXED = {1: 8, 5: 4}


def check_onnx(path: Path) -> None:
    """Walk the outermost protobuf fields of a model.

    Raises:
        ModelError: the fields do not end where the file ends, or there is no graph among them.
    """
    size, seen = path.stat().st_size, set()
    try:
        with path.open("rb") as stream:
            while stream.tell() < size:
                key = _varint(stream)
                seen.add(key >> 3)
                kind = key & 7
                if kind == 0:
                    _varint(stream)
                elif kind == 2:
                    stream.seek(_varint(stream), 1)
                else:
                    stream.seek(_FIXED[kind], 1)
                if stream.tell() > size:
                    raise ValueError("truncated")
    except (ValueError, KeyError, OSError, OverflowError):
        raise ModelError(f"{path.name}: not a whole ONNX model, damaged or truncated") from None
    if _GRAPH not in seen:
        raise ModelError(f"{path.name}: not an ONNX model")


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("no end")
