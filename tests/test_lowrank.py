"""Adapters of the language model: they change what they should, and nothing else."""

from pathlib import Path

import pytest
import torch

from stepaudio.errors import ModelError
from stepaudio.lm.config import LMConfig
from stepaudio.lm.lowrank import LATE_BLOCKS, Adapter, LowRankConfig, adapted
from stepaudio.lm.model import DecoderLM

CONFIG = LMConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=7,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
    rms_norm_eps=1e-5,
    position="rope",
    tie_word_embeddings=True,
)
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


@pytest.fixture
def model() -> DecoderLM:
    torch.manual_seed(0)
    return DecoderLM(CONFIG).eval()


def learned(config: LowRankConfig) -> Adapter:
    """An adapter that is not new: its second matrices are not zeros."""
    torch.manual_seed(1)
    adapter = Adapter(config, CONFIG).eval()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return adapter


def hidden_states(model: DecoderLM) -> list[torch.Tensor]:
    """What every block gives out."""
    states: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: states.append(out)) for layer in model.model.layers
    ]
    with torch.inference_mode():
        model(IDS)
    for hook in hooks:
        hook.remove()
    return states


def test_a_new_adapter_changes_nothing(model: DecoderLM) -> None:
    twin = adapted(model, Adapter(LowRankConfig(), CONFIG))
    assert torch.equal(twin(IDS), model(IDS))


def test_the_first_model_stays_as_it_is(model: DecoderLM) -> None:
    before = model(IDS)
    twin = adapted(model, learned(LowRankConfig(rank=4)))
    assert not torch.allclose(twin(IDS), before)
    assert torch.equal(model(IDS), before)


def test_below_a_late_adapter_hidden_states_are_bit_equal(model: DecoderLM) -> None:
    twin = adapted(model, learned(LowRankConfig(rank=4, blocks=LATE_BLOCKS)))
    plain, changed = hidden_states(model), hidden_states(twin)
    first = CONFIG.num_hidden_layers - LATE_BLOCKS
    assert all(torch.equal(a, b) for a, b in zip(plain[:first], changed[:first], strict=True))
    assert not any(torch.allclose(a, b) for a, b in zip(plain[first:], changed[first:], strict=True))


def test_two_personas_share_the_weights(model: DecoderLM) -> None:
    one = adapted(model, learned(LowRankConfig(rank=4, blocks=LATE_BLOCKS)))
    two = adapted(model, learned(LowRankConfig(rank=2, blocks=LATE_BLOCKS)))
    assert one.embed(IDS).data_ptr() != two.embed(IDS).data_ptr()  # results are their own
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert a.data_ptr() == b.data_ptr()
    assert not torch.allclose(one(IDS), two(IDS))


def test_only_the_adapter_learns(model: DecoderLM) -> None:
    model.requires_grad_(False)
    adapter = learned(LowRankConfig(rank=4))
    adapted(model, adapter)(IDS).sum().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_adapter_comes_back_from_its_file(tmp_path: Path) -> None:
    adapter = learned(LowRankConfig(rank=4, blocks=2))
    adapter.save(tmp_path / "a.safetensors")
    read = Adapter.load(tmp_path / "a.safetensors", CONFIG)
    assert read.config == adapter.config
    for name, value in adapter.state_dict().items():
        assert torch.equal(read.state_dict()[name], value.bfloat16().float())


def test_another_models_adapter_is_an_error(tmp_path: Path) -> None:
    learned(LowRankConfig()).save(tmp_path / "a.safetensors")
    other = CONFIG.model_copy(update={"hidden_size": 40})
    with pytest.raises(ModelError, match="not an adapter for this language model"):
        Adapter.load(tmp_path / "a.safetensors", other)
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not an adapter"):
        Adapter.load(tmp_path / "b.safetensors", CONFIG)
