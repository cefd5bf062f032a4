"""From a folder of safetensors to a language model, strictly: every key and shape must fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from stepaudio.errors import ModelError
from stepaudio.lm.blocks import Weight, dequantise, from_tensors
from stepaudio.lm.config import LMConfig
from stepaudio.lm.model import DecoderLM

if TYPE_CHECKING:
    from stepaudio.lm.packed import Precision


def load_lm(
    folder: Path,
    *,
    precision: "Precision | None" = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    wanted: Callable[[str], bool] | None = None,
) -> DecoderLM:
    """Load a language model from an official folder or one of ours.

    Args:
        folder: ``lm.json`` or ``config.json``, and ``*.safetensors`` with an index when there are several.
        precision: pack the layers for CPU inference; ``None`` keeps plain weights that can be trained.
        dtype: type of plain weights; the stored one by default (float32 for weights stored in blocks).
        device: where to put plain weights.
        wanted: keys to take, for a folder that holds an audio encoder too.

    Raises:
        ModelError: a file is missing or damaged, or keys or shapes do not fit the configuration.
    """
    config = LMConfig.read(folder)
    weights = read_weights(folder, wanted)
    with torch.device("meta"):
        model = DecoderLM(config)
    _check(config, model, weights)
    if precision is not None:
        from stepaudio.lm.packed import pack

        return pack(model, weights, precision)
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    state = {name: dequantise(weight).to(device, dtype) for name, weight in weights.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def read_weights(folder: Path, wanted: Callable[[str], bool] | None = None) -> dict[str, Weight]:
    """Read all tensors of a folder's safetensors; `wanted` chooses by key.

    Raises:
        ModelError: no file, a missing shard, a damaged file.
    """
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index}: not an index of safetensors: {error}") from error
        if bad := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
            raise ModelError(f"{index}: {bad[0]!r} is no plain file name")
        paths = [folder / name for name in names]
    else:
        paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ModelError(f"{folder}: no safetensors")
    tensors: dict[str, torch.Tensor] = {}
    for path in paths:
        if not path.is_file():
            raise ModelError(f"{path}: missing, though the index names it")
        try:
            with safe_open(path, framework="pt") as file:
                keys = [key for key in file.keys() if not wanted or wanted(key)]  # noqa: SIM118
                tensors.update({key: file.get_tensor(key) for key in keys})
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path}: cannot read the safetensors: {' '.join(str(error).split())}"
            ) from error
    return from_tensors(tensors)


def _check(config: LMConfig, model: DecoderLM, weights: dict[str, Weight]) -> None:
    """Compare keys and shapes with what the configuration asks for."""
    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    optional = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if missing := sorted(expected.keys() - weights.keys()):
        raise ModelError(f"weights lack {len(missing)} tensors, for example {missing[0]}")
    if extra := sorted(weights.keys() - expected.keys() - optional):
        raise ModelError(f"weights hold {len(extra)} unknown tensors, for example {extra[0]}")
    for name, shape in expected.items():
        weight = weights[name]
        found = tuple(weight.shape) if isinstance(weight, torch.Tensor) else weight.shape
        if found != shape:
            raise ModelError(f"{name} has the shape {found}, expected {shape}")
