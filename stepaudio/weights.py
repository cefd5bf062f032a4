"""Loading weights strictly: every expected tensor, nothing else, in the expected shape."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from stepaudio.errors import ModelError


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        ModelError: if the file is missing or is not a whole safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(f"{path}: no such weight file")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: not a complete safetensors file ({error})") from None


def check_shapes(
    tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], *, where: str
) -> None:
    """Compare names and shapes.

    Raises:
        ModelError: one line naming ``where`` and the first tensor that is missing, unknown or misshapen.
    """
    for name, shape in expected.items():
        if name not in tensors:
            raise ModelError(f"{where}: tensor {name} is missing")
        if tuple(tensors[name].shape) != shape:
            found = list(tensors[name].shape)
            raise ModelError(f"{where}: tensor {name} has shape {found}, expected {list(shape)}")
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise ModelError(f"{where}: unknown tensor {unknown[0]} (and {len(unknown) - 1} more)")


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Load ``tensors`` into ``module`` after :func:`check_shapes` against the module's own state dict.

    Raises:
        ModelError: as :func:`check_shapes`.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    check_shapes(tensors, expected, where=where)
    module.load_state_dict(dict(tensors), strict=True)


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
