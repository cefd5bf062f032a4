"""Step-Audio 2's encoder, adaptor and feature injection against the golden vectors; length rules."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import check
from safetensors.torch import load_file

from stepaudio.encoder import EncoderConfig, SpeechEncoder, inject, piece_mel
from stepaudio.errors import AudioError, InputError, ModelError
from stepaudio.pieces import PIECE_SAMPLES, mel_frames, placeholder_count, split_pieces, valid_frames

CASE = "sa2_audio_encoder_adaptor"
TINY = EncoderConfig(n_mels=128, n_ctx=200, n_state=40, n_head=4, n_layer=2, adaptor_hidden=64, llm_dim=48)


@pytest.fixture(scope="module")
def tensors(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / f"{CASE}.safetensors")


@pytest.fixture(scope="module")
def model(tensors: dict[str, torch.Tensor]) -> SpeechEncoder:
    return SpeechEncoder.from_tensors(TINY, weights(tensors))


def weights(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix("w."): value for key, value in tensors.items() if key.startswith("w.")}


def clips(tensors: dict[str, torch.Tensor]) -> list[np.ndarray]:
    return [tensors[f"in.wav{i}"].numpy() for i in range(3)]


def test_log_mel(tensors: dict[str, torch.Tensor]) -> None:
    for i, clip in enumerate(clips(tensors)):
        mel = piece_mel(clip, 128)
        assert mel.shape[1] == mel_frames(len(clip))
        check(CASE, f"mel {i}", mel, tensors["out.mel"][i, :, : mel.shape[1]])


def test_batch_and_its_layers(model: SpeechEncoder, tensors: dict[str, torch.Tensor]) -> None:
    lengths = torch.tensor([valid_frames(len(clip)) for clip in clips(tensors)])
    assert torch.equal(lengths, tensors["out.mel_len"].long())
    mel = tensors["out.mel"]
    with torch.inference_mode():
        embedded = model.encoder.embed(mel)
        encoded, encoded_lengths = model.encoder(mel, lengths)
        adapted, adapted_lengths = model.adapter(encoded, encoded_lengths)
    check(CASE, "convolutions and positions", embedded, tensors["out.after_conv_pos"])
    check(CASE, "encoder, batch", encoded, tensors["out.encoder_out"])
    check(CASE, "adaptor, batch", adapted, tensors["out.adapter_out"])
    assert torch.equal(encoded_lengths, tensors["out.encoder_len"].long())
    assert torch.equal(adapted_lengths, tensors["out.adapter_len"].long())


def test_first_block(model: SpeechEncoder, tensors: dict[str, torch.Tensor]) -> None:
    from stepaudio.encoder import key_bias

    mel, lengths = tensors["out.mel"], tensors["out.mel_len"].long()
    with torch.inference_mode():
        out = model.encoder.blocks[0](model.encoder.embed(mel), key_bias(lengths, mel.shape[-1], mel.dtype))
    check(CASE, "first block", out, tensors["out.after_block0"])


def test_each_alone(model: SpeechEncoder, tensors: dict[str, torch.Tensor]) -> None:
    features = model.features(clips(tensors))
    for i, feature in enumerate(features):
        count = int(tensors["out.placeholder_count"][i])
        assert feature.shape[0] == count == placeholder_count(len(clips(tensors)[i]))
        check(CASE, f"alone {i}", feature, tensors[f"out.adapter_out_alone{i}"][0, :count])


def test_batched_equals_the_reference_batch(model: SpeechEncoder, tensors: dict[str, torch.Tensor]) -> None:
    for i, feature in enumerate(model.features(clips(tensors), batched=True)):
        check(CASE, f"batched {i}", feature, tensors["out.adapter_out"][i, : len(feature)])


def test_alone_does_not_depend_on_the_neighbours(
    model: SpeechEncoder, tensors: dict[str, torch.Tensor]
) -> None:
    one, two, three = clips(tensors)
    assert torch.equal(model.features([three, one])[0], model.features([three, two])[0])
    # The batch does leak: that is the reference's behaviour, and why each alone is the default.
    assert not torch.allclose(
        model.features([two, one], batched=True)[0], model.features([two])[0], atol=1e-3
    )


def test_injection(model: SpeechEncoder, tensors: dict[str, torch.Tensor]) -> None:
    ids, table = tensors["in.input_ids"], tensors["in.embed_table"]
    start = int(tensors["in.audio_start_id"])
    hidden = table[ids]
    batched = model.features(clips(tensors), batched=True)
    for features in (batched, model.features(clips(tensors))):
        out = inject(hidden, ids, features, start)
        if features is batched:
            check(CASE, "injection", out, tensors["out.inputs_embeds"])
        positions = torch.nonzero(ids[0] == start)[:, 0].tolist()
        for at, feature in zip(positions, features, strict=True):
            assert torch.equal(out[0, at], hidden[0, at])
            assert torch.equal(out[0, at + 1 : at + 1 + len(feature)], feature)
            assert torch.equal(out[0, at + 1 + len(feature)], hidden[0, at + 1 + len(feature)])
    assert torch.equal(hidden, table[ids])


def test_injection_refuses_what_does_not_fit() -> None:
    ids, hidden = torch.tensor([[5, 9, 7, 7]]), torch.zeros(1, 4, 2)
    with pytest.raises(InputError, match="1 audio starts but 2 sounds"):
        inject(hidden, ids, [torch.ones(1, 2)] * 2, 9)
    with pytest.raises(InputError, match="do not fit"):
        inject(hidden, ids, [torch.ones(3, 2)], 9)


def test_placeholder_table(golden: Path) -> None:
    cases = json.loads((golden / "prompts.json").read_text())["placeholder_counts"]["cases"]
    assert len(cases) == 40
    for case in cases:
        samples = case["samples"]
        assert mel_frames(samples) == case["mel_frames"]
        assert valid_frames(samples) == case["valid_len"]
        assert placeholder_count(samples) == case["hf"], samples


@settings(max_examples=12, deadline=None)
@given(samples=st.integers(min_value=1, max_value=20_000))
def test_placeholders_always_match_the_features(samples: int) -> None:
    config = EncoderConfig(n_mels=128, n_ctx=200, n_state=8, n_head=2, n_layer=1, adaptor_hidden=8, llm_dim=4)
    torch.manual_seed(0)
    features = SpeechEncoder(config).eval().features([np.zeros(samples, np.float32)])
    assert features[0].shape == (placeholder_count(samples), 4)
    assert bool(torch.isfinite(features[0]).all())


@settings(max_examples=50, deadline=None)
@given(samples=st.integers(min_value=1, max_value=1_300_000))
def test_pieces_lose_nothing(samples: int) -> None:
    pieces = split_pieces(np.arange(samples, dtype=np.float32))
    assert all(len(piece) == PIECE_SAMPLES for piece in pieces[:-1])
    assert sum(map(len, pieces)) == samples
    assert pieces[-1][-1] == samples - 1


def test_real_shapes(golden: Path) -> None:
    shapes = json.loads((golden / "state_dict_shapes.json").read_text())
    wanted = next(value for key, value in find_shapes(shapes) if "encoder.blocks.31.mlp_ln.weight" in value)
    with torch.device("meta"):
        own = {key: list(value.shape) for key, value in SpeechEncoder(EncoderConfig()).state_dict().items()}
    theirs = {key: list(shape) for key, shape in wanted.items() if key.startswith(("encoder.", "adapter."))}
    assert own == theirs


def find_shapes(tree: object, name: str = "") -> list[tuple[str, dict]]:
    if not isinstance(tree, dict):
        return []
    if tree and all(isinstance(value, list) for value in tree.values()):
        return [(name, tree)]
    return [found for key, value in tree.items() for found in find_shapes(value, key)]


def test_own_size_without_pooling() -> None:
    """nano's shape: Whisper's own encoder (50 Hz out), adaptor of stride 4 to 12.5 Hz."""
    config = EncoderConfig(
        n_mels=80, n_ctx=1500, n_state=16, n_head=2, n_layer=1, pool=False,
        adaptor_kernel=5, adaptor_stride=4, adaptor_hidden=8, llm_dim=12,
    )  # fmt: skip
    features = SpeechEncoder(config).eval().features([np.zeros(32_000, np.float32)])
    assert features[0].shape == (25, 12)


def test_wrong_weights_and_input(tensors: dict[str, torch.Tensor], model: SpeechEncoder) -> None:
    good = weights(tensors)
    missing = {key: value for key, value in good.items() if key != "adapter.linear2.bias"}
    with pytest.raises(ModelError, match=r"adapter\.linear2\.bias") as caught:
        SpeechEncoder.from_tensors(TINY, missing)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="size mismatch"):
        SpeechEncoder.from_tensors(TINY.model_copy(update={"llm_dim": 32}), good)
    with pytest.raises(ModelError, match="Unexpected"):
        SpeechEncoder.from_tensors(TINY, {**good, "encoder.odd": torch.zeros(1)})
    with pytest.raises(InputError, match="too long"):
        model.features([np.zeros(100_000, np.float32)])
    with pytest.raises(AudioError, match="mono"):
        split_pieces(np.zeros((2, 100), np.float32))
    with pytest.raises(AudioError, match="mono"):
        split_pieces(np.zeros(0, np.float32))


def test_bfloat16_stays_close(tensors: dict[str, torch.Tensor], model: SpeechEncoder) -> None:
    half = SpeechEncoder.from_tensors(TINY, {k: v.bfloat16() for k, v in weights(tensors).items()})
    got, want = half.features(clips(tensors)[:1])[0], model.features(clips(tensors)[:1])[0]
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, atol=0.1, rtol=0.1)
