"""The GGUF converter, on a tiny file of our own making, and its refusals."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from stepaudio.errors import ModelError
from stepaudio.lm.gguf import convert_smollm2
from stepaudio.lm.gguf_file import read_gguf
from stepaudio.lm.text import load_text_tokenizer
from stepaudio.lm.weights import load_lm

LAYERS, HIDDEN, FFN, HEADS, GROUPS = 1, 64, 96, 2, 1
BYTES = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))]
BYTES += [chr(256 + n) for n in range(256 - len(BYTES))]
PIECES = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *BYTES, "he", "ll", "hell", "hello", "Ġhello"]
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ hello"]


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(item: object) -> bytes:
    if isinstance(item, str):
        return struct.pack("<I", 8) + text(item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    if isinstance(item, int):
        return struct.pack("<II", 4, item)
    assert isinstance(item, list)
    body = b"".join(text(i) if isinstance(i, str) else struct.pack("<i", i) for i in item)
    return struct.pack("<IIQ", 9, 8 if isinstance(item[0], str) else 5, len(item)) + body


def q4_1(weight: np.ndarray) -> tuple[bytes, np.ndarray]:
    blocks = weight.reshape(-1, 32)
    low = blocks.min(1, keepdims=True).astype(np.float16)
    scale = ((blocks.max(1, keepdims=True) - low) / 15).astype(np.float16)
    codes = np.clip(np.round((blocks - low) / scale), 0, 15).astype(np.uint8)
    packed = codes[:, :16] | codes[:, 16:] << 4
    back = codes * scale.astype(np.float32) + low.astype(np.float32)
    raw = np.concatenate([scale.view(np.uint8), low.view(np.uint8), packed], 1)
    return raw.tobytes(), back.reshape(weight.shape)


def q8_0(weight: np.ndarray) -> tuple[bytes, np.ndarray]:
    blocks = weight.reshape(-1, 32)
    scale = (np.abs(blocks).max(1, keepdims=True) / 127).astype(np.float16)
    codes = np.round(blocks / scale).astype(np.int8)
    raw = np.concatenate([scale.view(np.uint8), codes.view(np.uint8)], 1)
    return raw.tobytes(), (codes * scale.astype(np.float32)).reshape(weight.shape)


def gguf_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """The row order of the format: a rotary pair side by side."""
    dim = weight.shape[0] // heads
    return weight.reshape(heads, 2, dim // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write(path: Path, **changes: object) -> dict[str, np.ndarray]:
    """Write a tiny SmolLM2-shaped file; return its weights, as stored, under the official names."""
    meta: dict[str, object] = {
        "general.architecture": "llama",
        "llama.block_count": LAYERS,
        "llama.context_length": 64,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": FFN,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": GROUPS,
        "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": PIECES,
        "tokenizer.ggml.token_type": [3, 3, 3] + [1] * (len(PIECES) - 3),
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
    } | changes
    random = np.random.default_rng(0)
    at, layer = "model.layers.0.", "blk.0."
    wide, narrow = HIDDEN, HIDDEN // HEADS * GROUPS
    shapes = {
        ("token_embd", "model.embed_tokens"): (len(PIECES), HIDDEN),
        (layer + "attn_q", at + "self_attn.q_proj"): (wide, HIDDEN),
        (layer + "attn_k", at + "self_attn.k_proj"): (narrow, HIDDEN),
        (layer + "attn_v", at + "self_attn.v_proj"): (narrow, HIDDEN),
        (layer + "attn_output", at + "self_attn.o_proj"): (HIDDEN, wide),
        (layer + "ffn_gate", at + "mlp.gate_proj"): (FFN, HIDDEN),
        (layer + "ffn_up", at + "mlp.up_proj"): (FFN, HIDDEN),
        (layer + "ffn_down", at + "mlp.down_proj"): (HIDDEN, FFN),
        (layer + "attn_norm", at + "input_layernorm"): (HIDDEN,),
        (layer + "ffn_norm", at + "post_attention_layernorm"): (HIDDEN,),
        ("output_norm", "model.norm"): (HIDDEN,),
    }
    stored, entries, data = {}, b"", b""
    for (name, official), shape in shapes.items():
        weight = random.normal(size=shape).astype(np.float32)
        kind, raw, back = 0, weight.tobytes(), weight
        if len(shape) == 2 and name == "token_embd":
            kind, (raw, back) = 8, q8_0(weight)
        elif len(shape) == 2:
            heads = {"attn_q": HEADS, "attn_k": GROUPS}.get(name.removeprefix(layer))
            kind, (raw, back) = 3, q4_1(gguf_order(weight, heads) if heads else weight)
            if heads:
                dim = shape[0] // heads
                back = back.reshape(heads, dim // 2, 2, -1).swapaxes(1, 2).reshape(shape)
        stored[official + ".weight"] = back
        dims = struct.pack(f"<{len(shape)}Q", *shape[::-1])
        entries += (
            text(name + ".weight")
            + struct.pack("<I", len(shape))
            + dims
            + struct.pack("<IQ", kind, len(data))
        )
        data += raw + b"\0" * (-len(raw) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(meta))
    head += b"".join(text(k) + value(v) for k, v in meta.items()) + entries
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return stored


def test_conversion_keeps_every_bit(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    stored = write(tmp_path / "tiny.gguf")
    convert_smollm2({"tiny.gguf": tmp_path / "tiny.gguf"}, out)
    lm = load_lm(out)
    assert set(lm.state_dict()) == set(stored)
    for name, weight in lm.state_dict().items():
        torch.testing.assert_close(weight, torch.from_numpy(stored[name]), atol=1e-6, rtol=1e-6)
    config = json.loads((out / "lm.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["tie_word_embeddings"]
    assert lm.config.eos_token_ids == (2,)


def test_tokenizer_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf")
    convert_smollm2({"tiny.gguf": tmp_path / "tiny.gguf"}, tmp_path)
    tokenizer = load_text_tokenizer(tmp_path)
    hello = PIECES.index("hello")
    assert tokenizer.encode("<|im_start|>hello hello<|im_end|>") == [1, hello, hello + 1, 2]
    assert len(tokenizer.encode("123")) == 3
    for sentence in ("hello world", "Ünïcödé 你好 🙂", "  two  spaces\n\nand\ttabs ", "it's 1984!"):
        assert tokenizer.decode(tokenizer.encode(sentence)) == sentence


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"general.architecture": "mamba"}, "mamba"),
        ({"tokenizer.ggml.pre": "llama-bpe"}, "llama-bpe"),
    ],
)
def test_other_models_are_refused(tmp_path: Path, change: dict[str, object], why: str) -> None:
    write(tmp_path / "tiny.gguf", **change)
    with pytest.raises(ModelError, match=why):
        convert_smollm2({"tiny.gguf": tmp_path / "tiny.gguf"}, tmp_path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write(path)
    whole = path.read_bytes()
    for size in (0, 3, 20, 400, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match="truncated"):
            read_gguf(path)
    path.write_bytes(b"RIFF" + whole[4:])
    with pytest.raises(ModelError, match="not a GGUF"):
        read_gguf(path)
    path.write_bytes(whole[:8] + struct.pack("<Q", 1 << 60) + whole[16:])
    with pytest.raises(ModelError, match="claims"):
        read_gguf(path)
