"""Converters that cards name: pickled checkpoints become safetensors, once, while pulling."""

from pathlib import Path

from stepaudio.errors import ModelError


def speaker_ge2e(inputs: dict[str, Path], folder: Path) -> None:
    """The GE2E speaker encoder: the weights under ``model_state``, as float32 safetensors.

    Args:
        inputs: ``pretrained.pt``, a PyTorch checkpoint; loaded with ``weights_only=True``.
        folder: gets ``model.safetensors`` with the keys ``lstm.*`` and ``linear.*``.

    Raises:
        ModelError: the checkpoint is not of that form, or wants to run code.
    """
    import pickle

    import torch
    from safetensors.torch import save_file

    try:
        checkpoint = torch.load(inputs["pretrained.pt"], map_location="cpu", weights_only=True)
        state = checkpoint["model_state"]
        # similarity_weight and similarity_bias belong to the training loss.
        tensors = {key: value.float().contiguous() for key, value in state.items() if "similarity" not in key}
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, AttributeError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"pretrained.pt is not a GE2E checkpoint: {reason}") from error
    save_file(tensors, folder / "model.safetensors")
