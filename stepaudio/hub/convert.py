"""Converters that cards name: pickled checkpoints become safetensors, once, while pulling."""

from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


def speaker_ge2e(inputs: dict[str, Path], folder: Path) -> None:
    """The GE2E speaker encoder: the weights under ``model_state``, as float32 safetensors.

    Args:
        inputs: ``pretrained.pt``, a PyTorch checkpoint; loaded with ``weights_only=True``.
        folder: gets ``model.safetensors`` with the keys ``lstm.*`` and ``linear.*``.

    Raises:
        ModelError: the checkpoint is not of that form, or wants to run code.
    """
    state = _state(inputs["pretrained.pt"], "model_state", "a GE2E checkpoint")
    # similarity_weight and similarity_bias belong to the training loss.
    _save({key: value for key, value in state.items() if "similarity" not in key}, folder)


def watermark_perth(inputs: dict[str, Path], folder: Path) -> None:
    """The Perth watermark: the weights under ``model``, as float32 safetensors.

    Args:
        inputs: ``perth.pth.tar``, a PyTorch checkpoint; loaded with ``weights_only=True``.
        folder: gets ``model.safetensors`` with the keys ``encoder.*`` and ``decoder.*``.

    Raises:
        ModelError: the checkpoint is not of that form, or wants to run code.
    """
    state = _state(inputs["perth.pth.tar"], "model", "a Perth checkpoint")
    # ap.* are the windows of the spectrogram, which are computed.
    _save({key: value for key, value in state.items() if not key.startswith("ap.")}, folder)


def _state(path: Path, key: str, what: str) -> "dict[str, Tensor]":
    import pickle

    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)[key]
        return {name: value.float().contiguous() for name, value in state.items()}
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, AttributeError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path.name} is not {what}: {reason}") from error


def _save(tensors: "dict[str, Tensor]", folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(tensors, folder / "model.safetensors")
