"""State dicts out of PyTorch pickles, without running any code of theirs."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepaudio.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

# Training loops leave these beside the tensors.
_NOT_WEIGHTS = {"epoch", "step"}


def load_state(path: Path, *, inside: str | None = None) -> "dict[str, Tensor]":
    """Read a state dict with `torch.load(weights_only=True)`.

    Args:
        path: the pickle.
        inside: where there is an entry of this name that is a mapping, read that instead.

    Returns:
        Dense CPU tensors under their own names. Nothing is copied yet, so shapes can be checked first.

    Raises:
        ModelError: not a PyTorch file, truncated, wants to run code, or holds something else than tensors.
    """
    import torch

    _refuse_compressed(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path.name}: refused: it is not a plain weights file ({_line(error)})") from None
    # The reader answers damage with whatever its parts raise; none of it may reach the user as a traceback.
    except Exception as error:
        raise ModelError(f"{path.name}: cannot be read, damaged or truncated ({_line(error)})") from None
    if inside is not None and isinstance(data, Mapping) and isinstance(data.get(inside), Mapping):
        data = data[inside]
    if not isinstance(data, Mapping):
        raise ModelError(f"{path.name}: not a state dict but a {type(data).__name__}")
    state: dict[str, Tensor] = {}
    for key, value in data.items():
        if key in _NOT_WEIGHTS and isinstance(value, int | float):
            continue
        if not isinstance(key, str) or type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise ModelError(f"{path.name}: {str(key)[:80]!r} is a {type(value).__name__}, not a tensor")
        if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise ModelError(f"{path.name}: {key[:80]!r} is not a plain dense tensor")
        state[key] = value.detach()
    return state


def _refuse_compressed(path: Path) -> None:
    """PyTorch stores its records as they are; a compressed one can only be a decompression bomb."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(f"{path.name}: cannot be read, damaged or truncated ({_line(error)})") from None
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelError(f"{path.name}: refused: its records are compressed, which PyTorch never does")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ModelError(f"{path.name}: refused: its records claim more bytes than the file has")


def _line(error: BaseException) -> str:
    text = str(error).strip()
    # torch's own message advises to load the file unsafely; only its first sentence is of use here.
    return (text.splitlines()[0].split(". ")[0][:160] if text else type(error).__name__).rstrip(".")
