"""Which tensors a configuration needs, and the check that a checkpoint has exactly those."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepaudio.errors import ModelError

if TYPE_CHECKING:
    from stepaudio.decoder.config import FlowConfig
    from stepaudio.encoder import EncoderConfig
    from stepaudio.lm.config import LMConfig

Shapes = Mapping[str, tuple[int, ...]]


def check_shapes(where: str, found: Shapes, wanted: Shapes) -> int:
    """Compare names and shapes, both ways.

    Returns:
        The number of parameters.

    Raises:
        ModelError: the first tensor that is missing, unknown or of another shape, and how many there are.
    """
    missing = [key for key in wanted if key not in found]
    unknown = [key for key in found if key not in wanted]
    wrong = [key for key in wanted if key in found and tuple(found[key]) != tuple(wanted[key])]
    for keys, what in ((missing, "lacks"), (unknown, "has the unknown tensor")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(f"{where}: {what} {keys[0][:120]}{more}")
    if wrong:
        key = wrong[0]
        more = f" ({len(wrong)} tensors differ)" if len(wrong) > 1 else ""
        raise ModelError(
            f"{where}: {key} has shape {list(found[key])}, the configuration says {list(wanted[key])}{more}"
        )
    return sum(math.prod(shape) for shape in wanted.values())


def flow_shapes(config: "FlowConfig") -> dict[str, tuple[int, ...]]:
    """Tensors of a `flow.pt`."""
    import torch

    from stepaudio.decoder.flow import FlowDecoder

    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in FlowDecoder(config).state_dict().items()}


def encoder_shapes(config: "EncoderConfig") -> dict[str, tuple[int, ...]]:
    """Tensors of Step-Audio 2's `encoder.*` and `adapter.*`."""
    import torch

    from stepaudio.encoder import SpeechEncoder

    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in SpeechEncoder(config).state_dict().items()}


def lm_shapes(config: "LMConfig") -> dict[str, tuple[int, ...]]:
    """Tensors of a decoder-only language model in the layout of the official shards."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for layer in range(config.num_hidden_layers):
        at = f"model.layers.{layer}."
        for name, width in (("q", queries), ("k", keys), ("v", keys)):
            shapes[f"{at}self_attn.{name}_proj.weight"] = (width, hidden)
            if config.qkv_bias:
                shapes[f"{at}self_attn.{name}_proj.bias"] = (width,)
        shapes[f"{at}self_attn.o_proj.weight"] = (hidden, queries)
        shapes[f"{at}mlp.gate_proj.weight"] = (inner, hidden)
        shapes[f"{at}mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{at}mlp.down_proj.weight"] = (hidden, inner)
        shapes[f"{at}input_layernorm.weight"] = (hidden,)
        shapes[f"{at}post_attention_layernorm.weight"] = (hidden,)
    shapes["model.norm.weight"] = (hidden,)
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    return shapes
