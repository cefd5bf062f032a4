import json
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import check, check_ids
from safetensors.torch import load_file, save_file

from stepaudio.errors import ModelError
from stepaudio.tokenizer import linguistic
from stepaudio.tokenizer.cmvn import Cmvn, read_cmvn
from stepaudio.tokenizer.sanm import SanmConfig, SanmEncoder

CASE = "sa1_paraformer_vq02"
TINY = SanmConfig(size=32, heads=4, feed_forward=64, layers=3)


@pytest.fixture(scope="module")
def case(golden):
    return load_file(golden / f"{CASE}.safetensors")


@pytest.fixture(scope="module")
def tensors(case):
    weights = {name[2:]: value for name, value in case.items() if name.startswith("w.")}
    cmvn = Cmvn(case["in.cmvn_shift"], case["in.cmvn_scale"])
    return linguistic.official_tensors(weights, cmvn, case["in.centroids"].numpy())


@pytest.fixture(scope="module")
def tokenizer(tensors):
    return linguistic.from_tensors(tensors, TINY)


def front_end_rows(tokenizer, wave):
    state = tokenizer.front_end.start()
    return torch.cat([tokenizer.front_end.push(state, wave), tokenizer.front_end.finish(state)])


@torch.inference_mode()
def test_front_end_equals_the_reference(case, tokenizer):
    check(CASE, "front-end rows", front_end_rows(tokenizer, case["in.wav"]), case["out.frontend_feats"])


@torch.inference_mode()
def test_encoder_equals_the_reference(case, tokenizer):
    rows = front_end_rows(tokenizer, case["in.wav"])
    encoder = tokenizer.encoder
    state = encoder.start()
    for chunk in range(11):
        block = rows[4 * chunk : 4 * chunk + 4]
        window = encoder.windows(state, block, len(block))
        if (name := f"out.window_out_chunk{chunk}") in case:
            check(CASE, name[4:], window, case[name])
        if (name := f"out.carried_rows_after_chunk{chunk}") in case:
            check(CASE, name[4:], state.kept[None], case[name])
            for layer in range(TINY.layers):
                for kind, cache in (("k", state.keys), ("v", state.values)):
                    name = f"cache_{kind}_layer{layer}_after_chunk{chunk}"
                    check(CASE, name, cache[layer].transpose(0, 1)[None], case[f"out.{name}"])
    check(
        CASE,
        "encoder output, all windows at once",
        encoder.push(encoder.start(), rows)[None],
        case["out.encoder_out"],
    )


def test_codes_equal_the_reference(case, tokenizer):
    codes = tokenizer.encode(case["in.wav"].numpy())
    check_ids(CASE, "codes", torch.tensor(codes), case["out.vq02_indices"])


@torch.inference_mode()
def test_pieces_give_the_reference_rows_and_the_offline_codes(case, tokenizer):
    state = tokenizer.start()
    pieces = case["in.wav"].split(case["in.stream_pieces"].tolist())
    codes = []
    for index, (piece, rows) in enumerate(
        zip(pieces, case["out.stream_rows_per_piece"].tolist(), strict=True)
    ):
        new = tokenizer.push(state, piece.numpy())
        if index == len(pieces) - 1:
            new += tokenizer.finish(state)
        assert len(new) == rows
        codes += new
    check_ids(CASE, "codes, fed by pieces", torch.tensor(codes), case["out.vq02_indices"])


def test_row_counts_of_short_and_odd_lengths(case, tokenizer):
    for length, rows in zip(case["in.lengths"].tolist(), case["out.rows_for_lengths"].tolist(), strict=True):
        assert len(tokenizer.encode(case["in.wav"][:length].numpy())) == rows, length
        assert linguistic.code_count(length) == rows, length


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_pieces_equal_offline(case, tokenizer, data):
    length = data.draw(st.integers(0, 40000))
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=8)))
    wave = case["in.wav"][:length].numpy()
    state = tokenizer.start()
    codes = [code for piece in np.split(wave, cuts) for code in tokenizer.push(state, piece)]
    assert codes + tokenizer.finish(state) == tokenizer.encode(wave)


@torch.inference_mode()
def test_one_window_at_a_time_equals_all_at_once(tokenizer):
    rows = torch.randn(61, TINY.input_size, generator=torch.Generator().manual_seed(0))
    state = tokenizer.encoder.start()
    single = torch.cat([tokenizer.encoder.push(state, block) for block in rows.split(4)])
    together = tokenizer.encoder.push(tokenizer.encoder.start(), rows)
    torch.testing.assert_close(single, together, atol=1e-5, rtol=1e-5)


def test_state_does_not_grow(case, tokenizer):
    state = tokenizer.start()

    def size():
        parts = [state.front_end.pending, state.front_end.overlap, state.front_end.frames, state.encoder.kept]
        tensors = [*parts, *state.encoder.keys, *state.encoder.values]
        # The storage, not the view: a view would keep all the audio alive.
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    sizes = []
    for seconds in (2, 2, 2, 60):
        tokenizer.push(state, np.resize(case["in.wav"].numpy(), seconds * 16000))
        sizes.append(size())
    assert sizes[-1] <= max(sizes[:3]) + 4 * linguistic.CHUNK


def test_streams_do_not_share_state(case, tokenizer):
    wave = case["in.wav"].numpy()
    one, two = tokenizer.start(), tokenizer.start()
    codes_one, codes_two = [], []
    for piece in np.split(wave, 8):
        codes_one += tokenizer.push(one, piece)
        codes_two += tokenizer.push(two, -piece[::-1])
    assert codes_one + tokenizer.finish(one) == tokenizer.encode(wave)


def test_real_sizes_equal_the_reference(golden):
    reference = json.loads((golden / "state_dict_shapes.json").read_text())["models"][
        "step_audio_1_paraformer_encoder"
    ]
    shapes = linguistic.expected_shapes(SanmConfig())
    encoder = {name: list(shape) for name, shape in shapes.items() if name.startswith("encoder.")}
    assert encoder == reference[next(key for key, value in reference.items() if isinstance(value, dict))]
    assert sum(int(np.prod(shape)) for shape in encoder.values()) == reference["n_elements"]
    assert shapes["centroids"] == (1024, 512)
    assert int(np.prod(shapes["centroids"])) * 4 == 2_097_152


def test_file_round_trip_and_damage(tmp_path, tensors, tokenizer, case):
    path = tmp_path / "linguistic.safetensors"
    save_file(tensors, path)
    wave = case["in.wav"].numpy()
    assert linguistic.from_file(path, TINY).encode(wave) == tokenizer.encode(wave)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a complete safetensors"):
        linguistic.from_file(path, TINY)
    with pytest.raises(ModelError, match="no such weight file"):
        linguistic.from_file(tmp_path / "none.safetensors", TINY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("encoder.after_norm.bias"), "encoder.after_norm.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "unknown tensor extra"),
        (lambda t: t.update({"cmvn.shift": torch.zeros(4)}), r"shape \[4\], expected \[560\]"),
        (lambda t: t.pop("centroids"), "centroids is missing"),
    ],
)
def test_wrong_tensors_are_named(tensors, change, message):
    changed = dict(tensors)
    change(changed)
    with pytest.raises(ModelError, match=message):
        linguistic.from_tensors(changed, TINY)


def test_official_checkpoint_prefixes_and_unused_parts(tensors, tokenizer):
    encoder = {name: value for name, value in tensors.items() if name.startswith("encoder.")}
    checkpoint = {f"module.{name}": value for name, value in encoder.items()}
    checkpoint["decoder.embed.0.weight"] = torch.zeros(3, 3)
    picked = linguistic.official_tensors(checkpoint, tokenizer.front_end.cmvn, tokenizer.centroids.numpy())
    assert picked.keys() == tensors.keys()


def test_cmvn_text(golden):
    sample = json.loads((golden / "prompts.json").read_text())["am_mvn_sample"]
    cmvn = read_cmvn(sample["text"])
    assert cmvn.shift.tolist() == pytest.approx(sample["shift"])
    assert cmvn.scale.tolist() == pytest.approx(sample["scale"])
    for damaged in ("", sample["text"].replace("<Rescale>", ""), sample["text"].replace("-8.3", "x")):
        with pytest.raises(ModelError):
            read_cmvn(damaged)
    with pytest.raises(ModelError, match="4 numbers"):
        read_cmvn(sample["text"].replace("0.15 ", ""))


def test_config_is_strict():
    with pytest.raises(ValueError, match="multiple of heads"):
        SanmConfig(size=30, heads=4)
    assert SanmEncoder(TINY).config.cached_rows == 16


def test_the_encoder_has_the_official_number_of_parameters():
    shapes = linguistic.expected_shapes(SanmConfig(), 1024)
    encoder = [prod(shape) for name, shape in shapes.items() if name.startswith(linguistic.ENCODER)]
    assert sum(encoder) == 157_975_648
