"""Low-rank adapters of the language model: small differences that can be put on and taken off.

Source: E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021). An adapter on the last
blocks alone is a persona ("late-stage LoRA", arXiv 2605.22579); the blocks below stay bit-equal.
"""

import copy
import json
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.errors import ModelError
from stepaudio.lm.config import LMConfig
from stepaudio.lm.model import DecoderLM, Layer

LATE_BLOCKS = 5
"""Blocks of a late-stage adapter."""
M = TypeVar("M", bound=nn.Module)
_PARTS = ("qkv", "out", "gate_up", "down")


class LowRankConfig(BaseModel):
    """Shape of an adapter.

    Attributes:
        rank: of each difference.
        alpha: differences count alpha / rank.
        blocks: how many of the last blocks it changes; ``None`` is all.
        dropout: of its input, in training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32.0, gt=0)
    blocks: int | None = Field(default=None, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class LowRank(nn.Module):
    """x -> B A x, scaled; B starts as zeros, so that a new adapter changes nothing."""

    def __init__(self, inputs: int, outputs: int, config: LowRankConfig) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(config.rank, inputs) / inputs**0.5)
        self.b = nn.Parameter(torch.zeros(outputs, config.rank))
        self.scale, self.dropout = config.alpha / config.rank, config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs), in the type of `x`."""
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        return F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype)) * self.scale


class Adapter(nn.Module):
    """The differences of all blocks that it changes, by block index.

    Args:
        config: its shape.
        lm: shape of the language model.
    """

    def __init__(self, config: LowRankConfig, lm: LMConfig) -> None:
        super().__init__()
        self.config = config
        wide, narrow = lm.num_attention_heads * lm.head_dim, lm.num_key_value_heads * lm.head_dim
        hidden, inner = lm.hidden_size, lm.intermediate_size
        shapes = {
            "qkv": (hidden, wide + 2 * narrow),
            "out": (wide, hidden),
            "gate_up": (hidden, 2 * inner),
            "down": (inner, hidden),
        }
        first = max(0, lm.num_hidden_layers - (config.blocks or lm.num_hidden_layers))
        self.blocks = nn.ModuleDict(
            {
                str(index): nn.ModuleDict({part: LowRank(*shapes[part], config) for part in _PARTS})
                for index in range(first, lm.num_hidden_layers)
            }
        )

    def save(self, path: Path) -> None:
        """Write a safetensors file, matrices as bfloat16."""
        from safetensors.torch import save_file

        tensors = {name: value.to(torch.bfloat16).contiguous() for name, value in self.state_dict().items()}
        save_file(tensors, path, {"lowrank": self.config.model_dump_json()})

    @classmethod
    def load(cls, path: Path, lm: LMConfig) -> "Adapter":
        """Read what `save` wrote.

        Raises:
            ModelError: not an adapter, or one of another language model.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                config = LowRankConfig.model_validate(json.loads((file.metadata() or {})["lowrank"]))
                tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
            adapter = cls(config, lm)
            adapter.load_state_dict(tensors)
        except (SafetensorError, OSError, KeyError, ValueError, ValidationError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"{path}: not an adapter for this language model ({reason})") from None
        return adapter.eval().requires_grad_(False)


def adapted(model: DecoderLM, adapter: Adapter) -> DecoderLM:
    """Return a model that computes with `adapter` and shares every weight with `model`, which stays so.

    Works on plain weights and on packed ones, and takes neither memory nor time: swapping adapters is
    keeping several of these.
    """
    twin = _shell(model)
    twin.model = _shell(model.model)
    layers = [
        _changed(layer, adapter.blocks[str(index)]) if str(index) in adapter.blocks else layer
        for index, layer in enumerate(model.model.layers)
    ]
    twin.model.layers = nn.ModuleList(layers)
    return twin


def _changed(layer: nn.Module, block: nn.Module) -> nn.Module:
    assert isinstance(layer, Layer)
    assert isinstance(block, nn.ModuleDict)
    layer = _shell(layer)
    layer.self_attn, layer.mlp = _shell(layer.self_attn), _shell(layer.mlp)
    layer.self_attn.deltas = layer.mlp.deltas = dict(block.items())
    return layer


def _shell(module: M) -> M:
    """A copy of a module whose parts and weights are those of the first."""
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied
