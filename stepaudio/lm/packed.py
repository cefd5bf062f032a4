"""Linear layers for inference on few cores: weights stay at 4, 8 or 16 bits, unpacked inside the product.

One decode step reads every weight once, so its cost is the memory the weights take. Activations enter the
product as bfloat16 and leave in the type they came in.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.errors import ModelError
from stepaudio.lm.blocks import BLOCK, Blocks4, Blocks8, Weight, dequantise, quantise4, quantise8, stack
from stepaudio.lm.model import DecoderLM, Layer

_PACK_ROWS = 2048  # a multiple of the 64 rows that the kernel's layout weaves together

_ROWS = 16  # the kernel takes multiples of it; others are padded

Precision = Literal["float32", "bfloat16", "int8", "int4"]


def best_precision() -> Precision:
    """Return what decodes fastest here: 4-bit blocks where their kernel is vectorised."""
    return "int4" if _has_int4_kernel() else "int8"


def _has_int4_kernel() -> bool:
    return torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}


def _pack(codes: Tensor, planes: Callable[[Tensor], Tensor]) -> Tensor:
    """Bring codes into the kernel's layout, some rows at a time: in between they take 32 bits each."""
    convert = torch.ops.aten._convert_weight_to_int4pack_for_cpu
    codes = F.pad(codes, (0, 0, 0, -len(codes) % _ROWS))
    return torch.cat([convert(planes(rows.int()), 1) for rows in codes.split(_PACK_ROWS)])


def _grid(scale: Tensor, zero: Tensor) -> Tensor:
    """Lay out scales and zeros, each (rows, blocks), as the kernel reads them: bfloat16 (blocks, rows, 2)."""
    both = F.pad(torch.stack((scale, zero), -1), (0, 0, 0, 0, 0, -len(scale) % _ROWS))
    return both.transpose(0, 1).contiguous().bfloat16()


class BFloat16Linear(nn.Module):
    """Weights rounded to bfloat16."""

    weight: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.to(torch.bfloat16))
        self.bias = None if bias is None else bias.float()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x @ weight.T + bias`` in the type of `x`."""
        out = F.linear(x.to(torch.bfloat16), self.weight).to(x.dtype)
        return out if self.bias is None else out + self.bias


class Int4Linear(nn.Module):
    """4-bit blocks of 32 with scale and minimum, in the layout of torch's CPU kernel."""

    def __init__(self, weight: Blocks4, bias: Tensor | None = None) -> None:
        super().__init__()
        self.rows_out = weight.packed.shape[0]
        packed = _pack(weight.codes(), lambda codes: codes)
        # The kernel computes (code - 8) * scale + zero.
        scale = weight.scale.float()
        self.register_buffer("packed", packed)
        self.register_buffer("grid", _grid(scale, weight.minimum.float() + 8 * scale))
        self.bias = None if bias is None else bias.float()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x @ weight.T + bias`` in the type of `x`."""
        flat = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(flat, self.packed, BLOCK, self.grid)
        out = out[:, : self.rows_out].to(x.dtype).view(*x.shape[:-1], self.rows_out)
        return out if self.bias is None else out + self.bias


class Int8Linear(nn.Module):
    """8-bit blocks of 32 as two 4-bit planes side by side: ``16 * high + low``, one product over both.

    On x86 that takes half the time of torch's own int8 kernel, and it keeps a scale for each block.
    """

    def __init__(self, weight: Blocks8, bias: Tensor | None = None) -> None:
        super().__init__()
        self.rows_out = weight.codes.shape[0]
        packed = _pack(weight.codes, lambda codes: torch.cat(((codes >> 4) + 8, codes & 15), 1))
        self.register_buffer("packed", packed)
        scale = weight.scale.float().bfloat16().float()
        grid = torch.cat((_grid(16 * scale, torch.zeros_like(scale)), _grid(scale, 8 * scale)))
        self.register_buffer("grid", grid)
        self.bias = None if bias is None else bias.float()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x @ weight.T + bias`` in the type of `x`."""
        flat = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        twice = torch.cat((flat, flat), 1)
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(twice, self.packed, BLOCK, self.grid)
        out = out[:, : self.rows_out].to(x.dtype).view(*x.shape[:-1], self.rows_out)
        return out if self.bias is None else out + self.bias


class RowInt8Linear(nn.Module):
    """One int8 scale for every output row, by torch's own kernel: for processors without the 4-bit one."""

    codes: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        # The kernel multiplies by the bfloat16 scale, so the codes are made with the rounded one.
        scale = (weight.float().abs().amax(1).clamp(min=1e-8) / 127).to(torch.bfloat16)
        codes = (weight.float() / scale.float()[:, None]).round().clamp(-127, 127)
        self.register_buffer("codes", codes.to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = None if bias is None else bias.float()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x @ weight.T + bias`` in the type of `x`."""
        flat = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        out = torch._weight_int8pack_mm(flat, self.codes, self.scale).to(x.dtype).view(*x.shape[:-1], -1)
        return out if self.bias is None else out + self.bias


class PackedEmbedding(nn.Module):
    """An embedding table in 8-bit blocks; rows are unpacked as they are looked up."""

    codes: Tensor
    scale: Tensor

    def __init__(self, table: Blocks8) -> None:
        super().__init__()
        self.register_buffer("codes", table.codes)
        self.register_buffer("scale", table.scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows, float32 ``(..., hidden)``."""
        codes = self.codes[ids].float().unflatten(-1, (-1, BLOCK))
        return (codes * self.scale[ids].float()[..., None]).flatten(-2)


def pack(model: DecoderLM, weights: dict[str, Weight], precision: Precision) -> DecoderLM:
    """Fill `model` with packed layers made of `weights` (official names, complete), which it empties.

    Query, key and value become one product, gate and up another; the head is int8 when they are int4.

    Raises:
        ModelError: a weight is missing, or one is left over.
    """
    left = weights

    def take(name: str) -> Weight:
        if name not in left:
            raise ModelError(f"weights lack {name}")
        return left.pop(name)

    def norm(module: nn.Module, name: str) -> None:
        module.weight = nn.Parameter(dequantise(take(name)).float(), requires_grad=False)

    make = _MAKERS[precision]
    for i, layer in enumerate(model.model.layers):
        assert isinstance(layer, Layer)
        at = f"model.layers.{i}"
        attention, mlp = layer.self_attn, layer.mlp
        parts = [f"{at}.self_attn.{p}_proj" for p in "qkv"]
        biases = [dequantise(take(f"{p}.bias")) for p in parts] if model.config.qkv_bias else []
        bias = torch.cat(biases) if biases else None
        attention.qkv_proj = make([take(f"{p}.weight") for p in parts], bias)
        attention.q_proj = attention.k_proj = attention.v_proj = nn.Identity()
        attention.o_proj = make([take(f"{at}.self_attn.o_proj.weight")], None)
        mlp.gate_up_proj = make([take(f"{at}.mlp.{p}_proj.weight") for p in ("gate", "up")], None)
        mlp.gate_proj = mlp.up_proj = nn.Identity()
        mlp.down_proj = make([take(f"{at}.mlp.down_proj.weight")], None)
        norm(layer.input_layernorm, f"{at}.input_layernorm.weight")
        norm(layer.post_attention_layernorm, f"{at}.post_attention_layernorm.weight")
    norm(model.model.norm, "model.norm.weight")
    table = take("model.embed_tokens.weight")
    if model.config.tie_word_embeddings:
        left.pop("lm_head.weight", None)
    head = table if model.config.tie_word_embeddings else take("lm_head.weight")
    if precision in ("int4", "int8"):
        table = _blocks8(table)
        head = table if model.config.tie_word_embeddings else head
        model.model.embed_tokens = PackedEmbedding(table)
    else:
        dtype = torch.float32 if precision == "float32" else torch.bfloat16
        model.model.embed_tokens = nn.Embedding.from_pretrained(dequantise(table).to(dtype))
    # 4 bits would change every seventh greedy choice: the head keeps 8.
    model.lm_head = _MAKERS["int8" if precision == "int4" else precision]([head], None)
    if left:
        raise ModelError(f"weights hold {len(left)} unknown tensors, for example {next(iter(left))}")
    return model.eval().requires_grad_(False)


def _int4(parts: list[Weight], bias: Tensor | None) -> nn.Module:
    return Int4Linear(stack([p if isinstance(p, Blocks4) else quantise4(dequantise(p)) for p in parts]), bias)


def _blocks8(weight: Weight) -> Blocks8:
    return weight if isinstance(weight, Blocks8) else quantise8(dequantise(weight))


def _int8(parts: list[Weight], bias: Tensor | None) -> nn.Module:
    if not _has_int4_kernel():
        return RowInt8Linear(torch.cat([dequantise(p) for p in parts]), bias)
    blocks = [_blocks8(p) for p in parts]
    return Int8Linear(
        Blocks8(torch.cat([b.codes for b in blocks]), torch.cat([b.scale for b in blocks])), bias
    )


def _bfloat16(parts: list[Weight], bias: Tensor | None) -> nn.Module:
    return BFloat16Linear(torch.cat([dequantise(p) for p in parts]), bias)


def _float32(parts: list[Weight], bias: Tensor | None) -> nn.Module:
    linear = nn.Linear(1, 1, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(torch.cat([dequantise(p) for p in parts]).float())
    if bias is not None:
        linear.bias = nn.Parameter(bias.float())
    return linear


_MAKERS: dict[str, Callable[[list[Weight], Tensor | None], nn.Module]] = {
    "float32": _float32,
    "bfloat16": _bfloat16,
    "int8": _int8,
    "int4": _int4,
}
