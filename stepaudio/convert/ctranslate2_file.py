"""Read the weights of a CTranslate2 model file.

Such a file is a name, two version numbers, the tensors (name, shape, kind and bytes of each) and aliases; all
numbers are little endian, and a string is its length with the closing zero, in two bytes, and its bytes.
"""

import struct
from pathlib import Path

import numpy as np

from stepaudio.errors import ModelError

VERSION = 6
KINDS = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""Kinds of numbers by their id; 5, bfloat16, is not in any model that we read."""


def read_ctranslate2(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of ``model.bin`` whose names begin with `prefix`, under those names without it.

    Raises:
        ModelError: not such a file, of another version, or cut off.
    """
    data = path.read_bytes()
    try:
        return dict(_tensors(data, prefix))
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: not a CTranslate2 model of version {VERSION} ({error})") from None


def _tensors(data: bytes, prefix: str) -> "list[tuple[str, np.ndarray]]":
    at = 0

    def number(kind: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{kind}", data, at)
        at += struct.calcsize(kind)
        return int(value)

    def string() -> str:
        nonlocal at
        length = number("H")
        at += length
        return data[at - length : at - 1].decode()

    version = number("I")
    if version != VERSION:
        raise ValueError(f"version {version}")
    string(), number("I")  # the architecture and its revision
    found = []
    for _ in range(number("I")):
        name = string()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = KINDS[number("B")], number("I")
        if name.startswith(prefix):
            tensor = np.frombuffer(data[at : at + size], kind).reshape(shape)
            found.append((name.removeprefix(prefix), tensor))
        at += size
    return found
