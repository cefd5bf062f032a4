"""GGUF to our own files, once, while pulling: safetensors, ``tokenizer.json`` and ``lm.json``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stepaudio.errors import ModelError
from stepaudio.lm.blocks import Blocks4, Blocks8, Weight, to_tensors
from stepaudio.lm.config import LMConfig
from stepaudio.lm.gguf_file import GGUF, read_gguf

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OUTPUTS = ("model.safetensors", "tokenizer.json", "lm.json")
_CONTROL = 3  # token type of special tokens
_LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def convert_smollm2(inputs: dict[str, Path], folder: Path) -> None:
    """Convert a SmolLM2 GGUF; the weights keep their bits (4 and 8 a value), only their layout changes.

    Args:
        inputs: one GGUF file.
        folder: gets ``model.safetensors``, ``tokenizer.json`` and ``lm.json``.

    Raises:
        ModelError: not a Llama-shaped GGUF with a byte-level BPE vocabulary.
    """
    from safetensors.torch import save_file

    if len(inputs) != 1:
        raise ModelError(f"one GGUF file is expected, not {len(inputs)}")
    path = next(iter(inputs.values()))
    file = read_gguf(path)
    try:
        config = config_of(file)
        weights = weights_of(file, config)
        tokenizer = tokenizer_of(file)
    except KeyError as error:
        raise ModelError(f"{path}: the GGUF file lacks {error}") from error
    save_file(to_tensors(weights), folder / OUTPUTS[0])
    tokenizer.save(str(folder / OUTPUTS[1]))
    (folder / OUTPUTS[2]).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def config_of(file: GGUF) -> LMConfig:
    """Read the shape from the metadata of a Llama-shaped file."""
    meta = file.metadata
    if meta.get("general.architecture") != "llama":
        raise ModelError(f"GGUF architecture {meta.get('general.architecture')!r} is not llama")
    heads = meta["llama.attention.head_count"]
    return LMConfig(
        vocab_size=len(meta["tokenizer.ggml.tokens"]),
        hidden_size=meta["llama.embedding_length"],
        intermediate_size=meta["llama.feed_forward_length"],
        num_hidden_layers=meta["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=meta["llama.attention.head_count_kv"],
        head_dim=meta["llama.embedding_length"] // heads,
        max_position_embeddings=meta["llama.context_length"],
        # Stored as float32: 1e-5 comes back as 9.999999747378752e-06.
        rms_norm_eps=float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        position="rope",
        rope_theta=meta["llama.rope.freq_base"],
        tie_word_embeddings="output.weight" not in file.weights,
        bos_token_id=meta.get("tokenizer.ggml.bos_token_id"),
        eos_token_ids=(meta["tokenizer.ggml.eos_token_id"],),
        pad_token_id=meta.get("tokenizer.ggml.padding_token_id", 0),
    )


def weights_of(file: GGUF, config: LMConfig) -> dict[str, Weight]:
    """Return the weights under the official names, query and key rows in their official order."""
    out: dict[str, Weight] = {}
    for name, weight in file.weights.items():
        stem = name.removesuffix(".weight")
        if stem.startswith("blk."):
            _, index, kind = stem.split(".", 2)
            official = f"model.layers.{index}.{_LAYER_NAMES[kind]}.weight"
            if kind in {"attn_q", "attn_k"}:
                heads = config.num_attention_heads if kind == "attn_q" else config.num_key_value_heads
                weight = _reorder(weight, _rotary_rows(heads, config.head_dim))
        else:
            official = f"{_TOP_NAMES[stem]}.weight"
        out[official] = weight
    return out


def _rotary_rows(heads: int, dim: int) -> torch.Tensor:
    """Undo GGUF's order: it keeps a rotary pair side by side, officially it is half a head apart."""
    return torch.arange(heads * dim).view(heads, dim // 2, 2).transpose(1, 2).flatten()


def _reorder(weight: Weight, rows: torch.Tensor) -> Weight:
    if isinstance(weight, Blocks4):
        return Blocks4(weight.packed[rows], weight.scale[rows], weight.minimum[rows])
    if isinstance(weight, Blocks8):
        return Blocks8(weight.codes[rows], weight.scale[rows])
    return weight[rows]


def tokenizer_of(file: GGUF) -> "Tokenizer":
    """Build the byte-level BPE tokenizer: digits one by one, then the GPT-2 pattern, then the merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    meta: dict[str, Any] = file.metadata
    if (meta.get("tokenizer.ggml.model"), meta.get("tokenizer.ggml.pre")) != ("gpt2", "smollm"):
        raise ModelError(f"GGUF tokenizer {meta.get('tokenizer.ggml.pre')!r} is not SmolLM's")
    pieces: list[str] = meta["tokenizer.ggml.tokens"]
    merges = [tuple(line.split(" ", 1)) for line in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = meta["tokenizer.ggml.token_type"]
    special = [piece for piece, kind in zip(pieces, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in special])
    return tokenizer
