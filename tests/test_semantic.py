import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import check, check_ids
from safetensors.torch import load_file, save_file

from stepaudio.errors import ModelError
from stepaudio.features.mel import whisper_log_mel
from stepaudio.tokenizer import semantic, windows
from stepaudio.tokenizer.s3 import FiniteScalar, S3Config, S3Network, code_length
from stepaudio.weights import below

FILES = {1: "s3tokenizer_v1_25hz", 2: "s3tokenizer_v2"}


def tiny(version):
    return S3Config(version=version, n_ctx=300, size=64, heads=4, layers=2)


@pytest.fixture(scope="module")
def cases(golden):
    return {version: load_file(golden / f"{name}.safetensors") for version, name in FILES.items()}


@pytest.fixture(scope="module")
def networks(cases):
    built = {}
    for version, case in cases.items():
        built[version] = S3Network(tiny(version)).eval()
        built[version].load_state_dict(below(case, "w."), strict=True)
    return built


@pytest.fixture(scope="module")
def speechlike(golden):
    """31.3 s of the reference's long test sound."""
    return load_file(golden / "s3tokenizer_v2_long.safetensors")["in.wav_int16"].numpy() / np.float32(32768)


@pytest.mark.parametrize("version", [1, 2])
@torch.inference_mode()
def test_batch_equals_the_reference(cases, networks, version):
    case, name = cases[version], FILES[version]
    mels = [whisper_log_mel(case[f"in.wav{index}"]) for index in (0, 1)]
    lengths = torch.tensor([mel.shape[1] for mel in mels])
    assert lengths.tolist() == case["out.mel_len"].tolist()
    batch = torch.stack([torch.nn.functional.pad(mel, (0, lengths.max() - mel.shape[1])) for mel in mels])
    if version == 2:
        check(name, "log-mel of a batch", batch, case["out.mel"])
    hidden, _ = networks[version].encoder(batch, lengths)
    codes, code_lengths = networks[version](batch, lengths)
    assert code_lengths.tolist() == case["out.code_len"].tolist()
    for index, count in enumerate(code_lengths.tolist()):
        check(name, f"hidden rows, clip {index}", hidden[index, :count], case["out.hidden"][index, :count])
        check_ids(name, f"codes, clip {index}", codes[index, :count], case["out.codes"][index, :count])
        if version == 2:
            codebook = networks[2].quantizer.get_submodule("_codebook")
            want = case["out.fsq_digits"][index, :count]
            check_ids(name, f"FSQ digits, clip {index}", codebook.digits(hidden)[index, :count], want)


@pytest.mark.parametrize("version", [1, 2])
def test_tokenizer_equals_the_reference(cases, networks, version):
    tokenizer = semantic.from_network(networks[version])
    for index in (0, 1):
        codes = torch.tensor(tokenizer.encode(cases[version][f"in.wav{index}"].numpy()))
        want = cases[version]["out.codes"][index, : len(codes)]
        assert len(codes) == cases[version]["out.code_len"][index]
        check_ids(FILES[version], f"codes of clip {index} alone", codes, want)


def test_fsq_mapping_equals_the_reference(golden):
    case = load_file(golden / "s3_fsq_mapping.safetensors")
    codebook = FiniteScalar(8)
    codebook.load_state_dict(below(case, "w."))
    check_ids("s3_fsq_mapping", "codes", codebook(case["in.x"]), case["out.codes"])


def test_joining_equals_the_reference(golden):
    case = load_file(golden / "s3_long_merge.safetensors")
    joined = windows.join([case[f"in.seg{index}"].tolist() for index in range(3)])
    check_ids("s3_long_merge", "joined codes", torch.tensor(joined), case["out.merged"])


def test_long_clip_equals_the_reference(golden, networks, speechlike):
    case = load_file(golden / "s3tokenizer_v2_long.safetensors")
    codes = torch.tensor(semantic.from_network(networks[2]).encode(speechlike))
    check_ids("s3tokenizer_v2_long", "codes of 31.3 s", codes, case["out.codes"][0], allowed=0.01)


@torch.inference_mode()
def test_short_clip_beside_a_long_one_equals_the_reference(golden, networks, speechlike):
    case = load_file(golden / "s3tokenizer_v2_long.safetensors")
    short = speechlike[:20000]
    alone = torch.tensor(semantic.from_network(networks[2]).encode(short))
    check_ids("s3tokenizer_v2_long", "codes of a short clip alone", alone, case["out.codes_short_alone"])
    long_mel = whisper_log_mel(torch.from_numpy(speechlike))[:, :3000]
    short_mel = whisper_log_mel(torch.from_numpy(short))
    padded = torch.nn.functional.pad(short_mel, (0, 3000 - short_mel.shape[1]))
    codes, _ = networks[2](torch.stack([long_mel, padded]), torch.tensor([3000, short_mel.shape[1]]))
    want = case["out.batch_codes_short_item"]
    check_ids("s3tokenizer_v2_long", "codes of a short clip in a batch", codes[1, : len(want)], want)


@settings(max_examples=200, deadline=None)
@given(frames=st.integers(1, 20000))
def test_no_code_is_lost_however_long(frames):
    cuts = windows.overlapping(frames)
    segments = [range(start // 4, start // 4 + code_length(stop - start)) for start, stop in cuts]
    assert windows.join(segments) == list(range(code_length(frames)))
    assert all(stop - start <= 3000 for start, stop in cuts)


def test_compat_loses_what_the_package_loses():
    def count(frames, compat):
        cuts = windows.overlapping(frames, compat=compat)
        return len(windows.join([range(code_length(stop - start)) for start, stop in cuts]))

    assert count(5300, True) == 1275
    assert count(5300, False) == 1325
    # Outside 26 k .. 26 k + 4 s the two cut the same windows.
    for frames in (100, 3000, 3001, 5200, 5600, 7000, 7800, 8200, 9000):
        assert windows.overlapping(frames) == windows.overlapping(frames, compat=True)


@settings(max_examples=100, deadline=None)
@given(frames=st.integers(1, 4000), stride=st.sampled_from([1, 2]))
def test_code_length_is_what_the_convolutions_give(frames, stride):
    once = -(-frames // stride)
    assert code_length(frames, stride) == -(-once // 2)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 200, 201, 479, 480, 640, 641])
@pytest.mark.parametrize("version", [1, 2])
def test_short_clips(networks, version, samples):
    codes = semantic.from_network(networks[version]).encode(np.full(samples, 0.1, np.float32))
    shortest = {1: semantic.SHORTEST_PIECE, 2: semantic.SHORTEST_CLIP}[version]
    assert len(codes) == (code_length(samples // 160) if samples >= shortest else 0)


def stream(tokenizer, pieces, window):
    state = tokenizer.start(window)
    codes = [code for piece in pieces for code in tokenizer.push(state, piece)]
    return codes + tokenizer.finish(state)


def test_streaming_by_pieces_equals_offline_of_version_1(cases, speechlike):
    network = S3Network(tiny(1).model_copy(update={"n_ctx": 1500}))
    weights = below(cases[1], "w.")
    table = network.encoder.positional_embedding
    check("s3tokenizer_v1_25hz", "position table", table[:300], weights["encoder.positional_embedding"])
    network.load_state_dict(weights | {"encoder.positional_embedding": table})
    tokenizer = semantic.from_network(network)
    for length in (speechlike.size, 480000, 480000 + 300):
        wave = speechlike[:length]
        codes = stream(tokenizer, np.split(wave, 7) if length % 7 == 0 else [wave], semantic.PIECES)
        assert codes == tokenizer.encode(wave), length


@settings(max_examples=8, deadline=None)
@given(data=st.data(), version=st.sampled_from([1, 2]))
def test_streamed_codes_do_not_depend_on_the_cuts(networks, speechlike, data, version):
    tokenizer = semantic.from_network(networks[version])
    wave = speechlike[: data.draw(st.integers(480, 80000))]
    cuts = sorted(data.draw(st.lists(st.integers(0, wave.size), max_size=6)))
    window = semantic.StreamWindow(1.0, 0.4, 0.2)
    codes = stream(tokenizer, np.split(wave, cuts), window)
    assert codes == stream(tokenizer, [wave], window)
    assert len(codes) == len(tokenizer.encode(wave))


def test_clips_that_fit_one_window_stream_as_offline(networks, speechlike):
    for version in (1, 2):
        tokenizer = semantic.from_network(networks[version])
        wave = speechlike[:30000]
        window = semantic.StreamWindow(0, 1.6, 0.4)
        assert stream(tokenizer, np.split(wave, 10), window) == tokenizer.encode(wave)


def test_stream_state_is_one_window_at_most(networks, speechlike):
    tokenizer = semantic.from_network(networks[1])
    state = tokenizer.start(semantic.StreamWindow(1.0, 0.4, 0.2))
    for piece in np.split(speechlike[:160000], 20):
        tokenizer.push(state, piece)
        assert state.sound.size <= 1.6 * 16000 + 640
        assert state.sound.base is None


@pytest.mark.parametrize("window", [(1.0, 0.0, 0.0), (0.01, 1.0, 0.0), (-1.0, 1.0, 0.0), (20.0, 8.0, 4.0)])
def test_impossible_stream_windows(networks, window):
    with pytest.raises(ValueError, match="stream window"):
        semantic.from_network(networks[1]).start(semantic.StreamWindow(*window))


@pytest.mark.parametrize("version", [1, 2])
def test_real_sizes_equal_the_reference(golden, version):
    import json

    name = {1: "s3tokenizer_v1_25hz", 2: "s3tokenizer_v2_25hz"}[version]
    reference = json.loads((golden / "state_dict_shapes.json").read_text())["models"][name]
    with torch.device("meta"):
        network = S3Network(S3Config(version=version))
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert shapes == next(value for value in reference.values() if isinstance(value, dict))
    assert sum(value.numel() for value in network.state_dict().values()) == reference["n_elements"]


def export(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 128, 100), torch.tensor([100], dtype=torch.int32)),
            path,
            input_names=["feats", "feats_length"],
            output_names=["indices", "count"],
            dynamic_axes={"feats": {2: "frames"}, "indices": {1: "codes"}},
            dynamo=False,
        )


@pytest.mark.parametrize("version", [1, 2])
def test_onnx_file_gives_the_codes_of_the_torch_network(tmp_path, networks, speechlike, version):
    path = tmp_path / "speech_tokenizer.onnx"
    export(networks[version], str(path))
    session = semantic.from_file(path, tiny(version))
    wave = speechlike[:48123]
    assert session.encode(wave) == semantic.from_network(networks[version]).encode(wave)


@pytest.mark.parametrize("version", [1, 2])
def test_safetensors_round_trip_and_wrong_version(tmp_path, networks, speechlike, version):
    path = tmp_path / "semantic.safetensors"
    save_file(networks[version].state_dict(), path)
    wave = speechlike[:16000]
    tokenizer = semantic.from_file(path, tiny(version))
    assert tokenizer.encode(wave) == semantic.from_network(networks[version]).encode(wave)
    with pytest.raises(ModelError, match="tensor"):
        semantic.from_file(path, tiny(3 - version))


def test_bad_onnx_files_are_one_line(tmp_path):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not a model")
    for call in (
        lambda: semantic.from_onnx(damaged, version=1),
        lambda: semantic.from_onnx(tmp_path / "none.onnx", version=1),
        lambda: semantic.from_onnx(damaged, version=1, device="tpu"),
        lambda: semantic.from_network(S3Network(tiny(1).model_copy(update={"first_stride": 1}))),
    ):
        with pytest.raises(ModelError) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_model_that_gives_nonsense_is_refused():
    wave = np.full(16000, 0.1, np.float32)
    for codes in (torch.zeros(1, 7), torch.full((1, 25), 4096)):
        tokenizer = semantic.SemanticTokenizer(lambda mel, codes=codes: codes, version=1, codes=4096)
        with pytest.raises(ModelError, match="semantic tokenizer gave"):
            tokenizer.encode(wave)
