"""Packed weights: blocks round-trip, packed layers compute what their blocks say, pack is strict."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stepaudio.errors import ModelError
from stepaudio.lm.blocks import (
    Blocks4,
    dequantise,
    from_tensors,
    pack4,
    quantise4,
    quantise8,
    to_tensors,
)
from stepaudio.lm.config import LMConfig
from stepaudio.lm.model import DecoderLM
from stepaudio.lm.packed import Int4Linear, Int8Linear, RowInt8Linear, _has_int4_kernel, pack

needs_kernel = pytest.mark.skipif(not _has_int4_kernel(), reason="this processor has no 4-bit kernel")


def model(position: str, tied: bool, bias: bool) -> DecoderLM:
    config = LMConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        position=position,
        qkv_bias=bias,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(1)
    lm = DecoderLM(config).eval().requires_grad_(False)
    for name, parameter in lm.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.2)
    return lm


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 999))
def test_blocks_round_trip(rows: int, blocks: int, seed: int) -> None:
    weight = torch.randn(rows, 32 * blocks, generator=torch.Generator().manual_seed(seed))
    spread = weight.view(rows, -1, 32).amax(-1) - weight.view(rows, -1, 32).amin(-1)
    four, eight = quantise4(weight), quantise8(weight)
    assert (dequantise(four) - weight).abs().max() <= spread.max() / 15 * 0.5 + 0.01
    assert (dequantise(eight) - weight).abs().max() <= weight.abs().max() / 127 * 0.5 + 0.005
    back = from_tensors(to_tensors({"a": four, "b": eight, "c": weight}))
    for name, original in (("a", four), ("b", eight), ("c", weight)):
        assert torch.equal(dequantise(back[name]), dequantise(original))
        assert tuple(back[name].shape) == (rows, 32 * blocks)


def test_damaged_blocks_are_refused() -> None:
    tensors = to_tensors({"a": quantise4(torch.randn(2, 64))})
    with pytest.raises(ModelError, match=r"a\.minimum"):
        from_tensors({k: v for k, v in tensors.items() if not k.endswith("minimum")})
    with pytest.raises(ModelError, match="do not fit"):
        from_tensors({**tensors, "a.scale": torch.zeros(2, 3)})
    with pytest.raises(ModelError, match="32"):
        quantise4(torch.randn(2, 40))


def close(got: Tensor, want: Tensor, share: float) -> None:
    assert (got - want).norm() <= share * want.norm()


@needs_kernel
@pytest.mark.parametrize("rows", [64, 2048 + 128, 2048 + 21])  # more than is packed at once
def test_packed_linear_layers_compute_their_blocks(rows: int) -> None:
    torch.manual_seed(0)
    weight, x, bias = torch.randn(rows, 96), torch.randn(2, 3, 96), torch.randn(rows)
    four, eight = quantise4(weight), quantise8(weight)
    close(Int4Linear(four, bias)(x), x @ dequantise(four).T + bias, 0.01)
    close(Int8Linear(eight, bias)(x), x @ dequantise(eight).T + bias, 0.01)


def test_row_int8_needs_no_special_kernel() -> None:
    weight, x = torch.randn(64, 96), torch.randn(2, 3, 96)
    close(RowInt8Linear(weight)(x), x @ weight.T, 0.02)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("position", "tied", "bias"), [("rope", True, False), ("rope", False, True), ("sqrt_alibi", False, False)]
)
@pytest.mark.parametrize(
    ("precision", "share"), [("float32", 0.02), ("bfloat16", 0.03), ("int8", 0.1), ("int4", 0.5)]
)
def test_packed_model_is_close_to_plain(
    position: str, tied: bool, bias: bool, precision: str, share: float
) -> None:
    lm, ids = model(position, tied, bias), torch.randint(0, 128, (2, 9))
    with torch.device("meta"):
        empty = DecoderLM(lm.config)
    packed = pack(empty, dict(lm.state_dict()), precision)
    close(packed(ids), lm(ids), share)
    cache = packed.new_cache(2)
    steps = torch.cat([packed(ids[:, k : k + 1], cache=cache) for k in range(9)], 1)
    close(steps, packed(ids), 0.03)  # the same weights; only the products' bfloat16 rounding differs


def test_stored_4_bit_weights_are_packed_as_they_are() -> None:
    codes = torch.randint(0, 16, (64, 32), dtype=torch.uint8)
    blocks = Blocks4(pack4(codes), torch.full((64, 1), 0.5).half(), torch.full((64, 1), -4.0).half())
    assert torch.equal(blocks.codes(), codes)
    assert torch.equal(blocks.dequantise(), codes * 0.5 - 4)


def test_pack_is_strict() -> None:
    lm = model("rope", True, False)
    state = dict(lm.state_dict())
    with torch.device("meta"):
        with pytest.raises(ModelError, match="unknown"):
            pack(DecoderLM(lm.config), {**state, "extra": torch.zeros(1)}, "bfloat16")
        state.pop("model.norm.weight")
        with pytest.raises(ModelError, match=r"lack model\.norm"):
            pack(DecoderLM(lm.config), state, "bfloat16")
