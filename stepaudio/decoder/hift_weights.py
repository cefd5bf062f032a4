"""Reading reference vocoder weights: one plain weight per convolution instead of a weight-norm pair."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stepaudio.decoder.hift import Hift
from stepaudio.decoder.hift_config import HiftConfig

_PAIRS = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)
_PREFIX = "generator."


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn a reference state dict into the names and weights of `Hift`.

    Handles both spellings of weight norm (`weight_g`/`weight_v` and torch's parametrizations) and the
    `generator.` prefix; plain weights pass unchanged. Keys this does not know are kept, so that a strict
    load names them.
    """
    state = {key.removeprefix(_PREFIX): value for key, value in state.items()}
    folded: dict[str, Tensor] = {}
    for key, value in state.items():
        for gain, direction in _PAIRS:
            if key.endswith(gain) and key.removesuffix(gain) + direction in state:
                base = key.removesuffix(gain)
                v = state[base + direction].float()
                # torch's own kernel, so that the weights equal the reference's bit for bit.
                folded[base + ".weight"] = torch._weight_norm(v, value.float(), 0)
                break
            if key.endswith(direction) and key.removesuffix(direction) + gain in state:
                break
        else:
            folded[key] = value
    return folded


def reference_shapes(config: HiftConfig, style: str = "parametrizations") -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a reference state dict for these sizes, without the `generator.` prefix.

    Args:
        config: the vocoder's sizes.
        style: "weight_g" for the old spelling of weight norm (22.05 kHz checkpoints), "parametrizations" for
            torch's newer one.
    """
    gain, direction = _PAIRS[0] if style == "weight_g" else _PAIRS[1]
    with torch.device("meta"):
        model = Hift(config)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():
        normed = isinstance(module, nn.Conv1d | nn.ConvTranspose1d) and not name.startswith("source_downs")
        for key, value in module.named_parameters(recurse=False):
            shape = tuple(value.shape)
            if normed and key == "weight":
                shapes[name + gain] = (shape[0], *[1] * (len(shape) - 1))
                shapes[name + direction] = shape
            else:
                shapes[f"{name}.{key}"] = shape
    return shapes
