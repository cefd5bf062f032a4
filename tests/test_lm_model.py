"""The language model: golden parity, and every way of feeding the same tokens gives the same logits."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import MANIFEST, check, check_ids
from safetensors.torch import load_file, save_file
from torch import Tensor

from stepaudio.errors import InputError, ModelError
from stepaudio.lm.config import LMConfig
from stepaudio.lm.generate import Limits, Prompt, generate_ids
from stepaudio.lm.model import DecoderLM
from stepaudio.lm.position import alibi_slopes, sqrt_alibi
from stepaudio.lm.sampling import Sampling
from stepaudio.lm.weights import load_lm

CASE = "step1_lm"
SHAPES = {
    "step1": {"position": "sqrt_alibi"},
    "qwen2": {"position": "rope", "qkv_bias": True},
    "llama": {"position": "rope", "tie_word_embeddings": True},
}


@pytest.fixture(scope="module")
def vectors(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "step1_lm.safetensors")


@pytest.fixture(scope="module")
def step1(vectors: dict[str, Tensor]) -> DecoderLM:
    lm = DecoderLM(LMConfig.from_official({"model_type": "step1", **MANIFEST[CASE]["config"]}))
    lm.load_state_dict(
        {k.removeprefix("w."): v for k, v in vectors.items() if k.startswith("w.")}, strict=True
    )
    return lm.eval()


def tiny(kind: str, *, seed: int = 0, heads: int = 6, groups: int = 2) -> DecoderLM:
    config = LMConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=8,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        eos_token_ids=(3,),
        **SHAPES[kind],
    )
    torch.manual_seed(seed)
    lm = DecoderLM(config).eval()
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return lm


@pytest.fixture(params=list(SHAPES))
def lm(request: pytest.FixtureRequest) -> DecoderLM:
    return tiny(request.param)


@torch.inference_mode()
def test_golden_full_forward_and_first_block(vectors: dict[str, Tensor], step1: DecoderLM) -> None:
    seen: list[Tensor] = []
    handle = step1.model.layers[0].register_forward_hook(lambda _m, _i, out: seen.append(out))
    logits = step1(vectors["in.input_ids"])
    handle.remove()
    check(CASE, "logits", logits, vectors["out.logits"])
    check(CASE, "hidden after layer 0", seen[0], vectors["out.hidden_after_layer0"])


@torch.inference_mode()
def test_golden_cached_decode(vectors: dict[str, Tensor], step1: DecoderLM) -> None:
    ids, cache = vectors["in.input_ids"][:1], step1.new_cache(capacity=4)
    prefill = step1(ids[:, :12], cache=cache)
    check(CASE, "prefill logits", prefill[:, -1], vectors["out.prefill_logits_last"])
    steps = torch.cat([step1(ids[:, k : k + 1], cache=cache) for k in range(12, 24)], 1)
    check(CASE, "cached step logits", steps, vectors["out.cached_step_logits"])


def test_golden_slopes_and_bias(vectors: dict[str, Tensor]) -> None:
    for heads in (6, 40, 48, 96):
        check(
            CASE, f"slopes of {heads} heads", alibi_slopes(heads), vectors[f"out.alibi_slopes_{heads}heads"]
        )
    place = torch.arange(24)
    bias = sqrt_alibi(alibi_slopes(6), place[:, None] - place)
    want = vectors["out.alibi_bias_6heads_24"]
    assert torch.equal(bias.isinf(), want <= -1e4)
    check(CASE, "sqrt-ALiBi bias", bias.clamp(min=-1e4), want)


def test_golden_greedy(vectors: dict[str, Tensor], step1: DecoderLM) -> None:
    want, prompt = vectors["out.greedy_20"], vectors["in.input_ids"][0, :12].tolist()
    for rule in (False, True):  # the official rule finds nothing to forbid here
        sampling = Sampling(temperature=0, step_repetition_rule=rule)
        ids = generate_ids(step1, Prompt(prompt), sampling=sampling, limits=Limits(want.shape[1]))
        check_ids(CASE, "greedy ids", torch.tensor([list(ids)]), want)


@torch.inference_mode()
def test_cached_decode_equals_full_forward(lm: DecoderLM) -> None:
    ids = torch.randint(0, 50, (2, 21))
    full = lm(ids)
    cache = lm.new_cache(2, capacity=3)  # grows on the way
    parts = [lm(ids[:, a:b], cache=cache) for a, b in ((0, 7), (7, 8), (8, 9), (9, 15), (15, 16), (16, 21))]
    torch.testing.assert_close(torch.cat(parts, 1), full, atol=1e-4, rtol=1e-4)
    assert cache.lengths == [21, 21]


@torch.inference_mode()
@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(list(SHAPES)),
    lengths=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    left=st.booleans(),
    steps=st.integers(0, 3),
)
def test_padded_batch_equals_single_rows(kind: str, lengths: list[int], left: bool, steps: int) -> None:
    lm, longest = tiny(kind), max(lengths)
    rows = [torch.randint(0, 50, (1, n + steps)) for n in lengths]
    ids = torch.full((len(rows), longest), 7)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, (row, n) in enumerate(zip(rows, lengths, strict=True)):
        place = slice(longest - n, None) if left else slice(n)
        ids[i, place], mask[i, place] = row[0, :n], True
    cache = lm.new_cache(len(rows), capacity=2)
    got = [lm(ids, cache=cache, mask=mask, last_only=True)]
    for k in range(steps):
        got.append(
            lm(
                torch.stack([row[0, n + k] for row, n in zip(rows, lengths, strict=True)])[:, None],
                cache=cache,
            )
        )
    uncached = lm(ids, mask=mask, last_only=True)
    for i, (row, n) in enumerate(zip(rows, lengths, strict=True)):
        alone = lm(row)[0]
        torch.testing.assert_close(uncached[i, 0], alone[n - 1], atol=1e-4, rtol=1e-4)
        for k, step in enumerate(got):
            torch.testing.assert_close(step[i, 0], alone[n - 1 + k], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_embeddings_in_place_of_ids(lm: DecoderLM) -> None:
    ids = torch.randint(0, 50, (1, 5))
    torch.testing.assert_close(lm(inputs_embeds=lm.embed(ids)), lm(ids))
    other = lm.embed(ids).clone()
    other[0, 2] = 0.5  # a feature instead of a word
    assert not torch.allclose(lm(inputs_embeds=other)[0, 3], lm(ids)[0, 3])


@torch.inference_mode()
def test_cache_truncated_and_rows_selected(lm: DecoderLM) -> None:
    ids = torch.randint(0, 50, (3, 8))
    cache = lm.new_cache(3)
    lm(ids, cache=cache)
    cache.truncate(5)
    cache.select([2, 0])
    again = lm(ids[[2, 0], 5:], cache=cache)
    torch.testing.assert_close(again, lm(ids)[[2, 0], 5:], atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="cannot cut"):
        cache.truncate(99)


def test_it_trains_through_its_own_forward(lm: DecoderLM) -> None:
    logits = lm(torch.randint(0, 50, (2, 6)))
    logits.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in lm.parameters())


def test_bad_input_is_one_clear_error(lm: DecoderLM) -> None:
    with pytest.raises(InputError, match=r"0\.\.49"):
        lm(torch.tensor([[50]]))
    with pytest.raises(InputError, match="context of 128"):
        lm(torch.zeros(1, 129, dtype=torch.long), cache=lm.new_cache())
    with pytest.raises(InputError, match="either"):
        lm()
    with pytest.raises(InputError, match="rows"):
        lm(torch.zeros(2, 3, dtype=torch.long), cache=lm.new_cache(1))


def test_official_configs() -> None:
    step1 = LMConfig.from_official({"model_type": "step1", **MANIFEST[CASE]["config"]})
    assert (step1.position, step1.tie_word_embeddings, step1.eos_token_ids) == ("sqrt_alibi", False, (3,))
    # The checkpoint does not say that its head is its own, and a reader's default would tie it.
    silent = {k: v for k, v in MANIFEST[CASE]["config"].items() if k != "tie_word_embeddings"}
    assert not LMConfig.from_official({"model_type": "step1", **silent}).tie_word_embeddings
    with pytest.raises(ModelError, match="gpt9"):
        LMConfig.from_official({"model_type": "gpt9"})
    with pytest.raises(ModelError, match="rope_scaling"):
        LMConfig.from_official({"model_type": "llama", "rope_scaling": {"type": "yarn"}})
    with pytest.raises(ModelError, match="vocab_size"):
        LMConfig.from_official({"model_type": "qwen2", "num_attention_heads": 4})


def test_a_folder_loads_strictly(tmp_path: Path) -> None:
    lm = tiny("qwen2")
    (tmp_path / "lm.json").write_text(lm.config.model_dump_json())
    state = {k: v.clone() for k, v in lm.state_dict().items()}
    half = len(state) // 2
    names = list(state)
    save_file({k: state[k] for k in names[:half]}, tmp_path / "model-00001.safetensors")
    save_file({k: state[k] for k in names[half:]}, tmp_path / "model-00002.safetensors")
    shard = {k: f"model-0000{1 if i < half else 2}.safetensors" for i, k in enumerate(names)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shard}))
    ids = torch.randint(0, 50, (1, 5))
    with torch.inference_mode():
        torch.testing.assert_close(load_lm(tmp_path)(ids), lm(ids))

    (tmp_path / "model-00002.safetensors").write_bytes(b"\x10" * 64)
    with pytest.raises(ModelError, match="model-00002"):
        load_lm(tmp_path)
    (tmp_path / "model-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="missing"):
        load_lm(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../x.safetensors"}})
    )
    with pytest.raises(ModelError, match="plain file name"):
        load_lm(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(ModelError, match="lack"):
        load_lm(tmp_path)
    (tmp_path / "model-00001.safetensors").unlink()
    save_file({**state, "extra": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="extra"):
        load_lm(tmp_path)
    save_file({**state, "model.norm.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.norm\.weight has the shape"):
        load_lm(tmp_path)
