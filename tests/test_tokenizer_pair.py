import json

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from parity import check
from safetensors.torch import load_file, save_file

from stepaudio.audio import Audio
from stepaudio.codes import Codes, interleave
from stepaudio.convert.linguistic import read_centroids
from stepaudio.decoder.speaker import SpeakerEncoder, speaker_features
from stepaudio.errors import AudioError, ModelError
from stepaudio.features.normalise import peak_normalise, trim_silence
from stepaudio.features.resample import resample
from stepaudio.tokenizer import linguistic, pair, semantic
from stepaudio.tokenizer.cmvn import Cmvn
from stepaudio.tokenizer.s3 import S3Config, S3Network
from stepaudio.tokenizer.sanm import SanmConfig
from stepaudio.weights import below

SANM = SanmConfig(size=32, heads=4, feed_forward=64, layers=3)
S3 = S3Config(version=1, n_ctx=300, size=64, heads=4, layers=2)


@pytest.fixture(scope="module")
def folder(golden, tmp_path_factory):
    """A converted folder of the tiny reference networks."""
    target = tmp_path_factory.mktemp("converted")
    case = load_file(golden / "sa1_paraformer_vq02.safetensors")
    cmvn = Cmvn(case["in.cmvn_shift"], case["in.cmvn_scale"])
    tensors = linguistic.official_tensors(below(case, "w."), cmvn, case["in.centroids"].numpy())
    save_file(tensors, target / pair.LINGUISTIC)
    save_file(below(load_file(golden / "s3tokenizer_v1_25hz.safetensors"), "w."), target / pair.SEMANTIC[0])
    (target / pair.CONFIG).write_text(pair.DualConfig(linguistic=SANM, semantic=S3).model_dump_json())
    return target


@pytest.fixture(scope="module")
def tokenizer(folder):
    return pair.from_folder(folder)


@pytest.fixture(scope="module")
def wave(golden):
    sound = load_file(golden / "s3tokenizer_v2_long.safetensors")["in.wav_int16"].numpy()
    return sound[: 5 * 16000 + 123] / np.float32(32768)


def test_pair_gives_what_each_stream_gives(tokenizer, wave):
    codes = tokenizer.encode(Audio(wave, 16000))
    prepared = peak_normalise(wave)
    assert list(codes.linguistic) == tokenizer.linguistic.encode(prepared)
    assert list(codes.semantic) == tokenizer.semantic.encode(prepared)
    assert codes.seconds == pytest.approx(wave.size / 16000)
    assert len(codes.linguistic) == linguistic.code_count(wave.size)
    assert Codes.from_json(json.loads(json.dumps(codes.to_json()))).interleaved() == codes.interleaved()


def test_trim_is_off_unless_asked(tokenizer, wave):
    quiet = np.concatenate([np.zeros(16000, np.float32), wave, np.zeros(16000, np.float32)])
    plain, trimmed = (tokenizer.encode(Audio(quiet, 16000), trim=trim) for trim in (False, True))
    assert plain.seconds == pytest.approx(quiet.size / 16000)
    assert trimmed.seconds == trim_silence(peak_normalise(quiet)).size / 16000
    assert len(trimmed.semantic) < len(plain.semantic)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 44101])
def test_any_rate_is_accepted(tokenizer, rate):
    tone = np.sin(np.arange(2 * rate) * 2 * np.pi * 300 / rate).astype(np.float32) * 0.3
    codes = tokenizer.encode(Audio(tone, rate))
    assert len(codes.semantic) == 50
    assert len(codes.linguistic) == linguistic.code_count(32000)


def test_official_resampler_is_used(tokenizer, wave):
    got = tokenizer.prepare(Audio(wave, 24000), normalise=False)
    np.testing.assert_array_equal(got, resample(torch.from_numpy(wave), 24000, 16000).numpy())


def test_no_sound_and_too_little_give_no_codes(tokenizer):
    for samples in (0, 1, 399):
        codes = tokenizer.encode(Audio(np.full(samples, 0.1, np.float32), 16000))
        assert codes.linguistic == codes.semantic == ()


def stream(tokenizer, pieces, **options):
    state = tokenizer.start(**options)
    parts = [tokenizer.push(state, piece) for piece in pieces] + [tokenizer.finish(state)]
    return tuple(
        [code for part in parts for code in getattr(part, name)]
        for name in ("linguistic", "semantic", "interleaved")
    )


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_streams_by_chunks_equal_offline(tokenizer, wave, data):
    sound = wave[: data.draw(st.integers(0, wave.size))]
    cuts = sorted(data.draw(st.lists(st.integers(0, sound.size), max_size=6)))
    peak = float(np.abs(sound).max(initial=0))
    codes = tokenizer.encode(Audio(sound, 16000))
    words, sounds, joint = stream(tokenizer, np.split(sound, cuts), peak=peak, window=semantic.PIECES)
    assert words == list(codes.linguistic)
    assert sounds == list(codes.semantic)
    assert joint == codes.interleaved()


def test_short_windows_stream_the_same_number_of_codes_early(tokenizer, wave):
    codes = tokenizer.encode(Audio(wave, 16000), normalise=False)
    words, sounds, joint = stream(tokenizer, np.split(wave, [5000, 40000, 60000]))
    assert words == list(codes.linguistic)
    assert len(sounds) == len(codes.semantic)
    assert joint == interleave(words, sounds)
    state = tokenizer.start()
    assert tokenizer.push(state, wave[:48000]).interleaved


def test_streams_at_other_rates_equal_offline(tokenizer, wave):
    codes = tokenizer.encode(Audio(wave, 44100), normalise=False)
    options = {"sample_rate": 44100, "window": semantic.PIECES}
    words, sounds, _ = stream(tokenizer, np.split(wave, [777, 30000]), **options)
    assert words == list(codes.linguistic)
    assert sounds == list(codes.semantic)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / pair.LINGUISTIC).unlink(), "no such weight file"),
        (lambda folder: (folder / pair.SEMANTIC[0]).unlink(), "is there"),
        (lambda folder: (folder / pair.CONFIG).unlink(), "tensor .* shape"),
        (
            lambda folder: (folder / pair.CONFIG).write_text('{"linguistic": {"depth": 3}}'),
            "linguistic.depth",
        ),
        (lambda folder: (folder / pair.CONFIG).write_text("{"), "tokenizer.json"),
        (
            lambda folder: (folder / pair.SEMANTIC[0]).write_bytes(b"\x80\x04pickle"),
            "not a complete safetensors",
        ),
    ],
)
def test_damaged_folders_are_one_line(folder, tmp_path, change, message):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        pair.from_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_version_2_codes_do_not_fit_the_pair(tokenizer):
    network = S3Network(S3.model_copy(update={"version": 2}))
    with pytest.raises(ModelError, match="4096 semantic"):
        pair.DualTokenizer(tokenizer.linguistic, semantic.from_network(network))


def test_centroids_that_are_not_plain_numbers_are_refused(tmp_path):
    path = tmp_path / "c.npy"
    for content in (np.array([{"a": 1}], dtype=object), np.zeros(4, np.float32), np.full((2, 2), np.nan)):
        np.save(path, content, allow_pickle=True)
        with pytest.raises(ModelError):
            read_centroids(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="not a plain NumPy array"):
        read_centroids(path)
    with pytest.raises(ModelError, match="no such file"):
        read_centroids(tmp_path / "none.npy")


def speaker_model(path, size=192):
    """A stand-in for campplus.onnx: the mean over time of absolute features, projected to ``size``."""
    weight = np.random.default_rng(0).normal(size=(80, size)).astype(np.float32)
    nodes = [
        helper.make_node("Abs", ["feats"], ["magnitude"]),
        helper.make_node("ReduceMean", ["magnitude"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "speaker",
        [helper.make_tensor_value_info("feats", TensorProto.FLOAT, [1, "frames", 80])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, size])],
        [helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return weight


def test_speaker_front_end_equals_the_reference(golden):
    case = load_file(golden / "kaldi_fbank.safetensors")
    check(
        "kaldi_fbank",
        "speaker front end",
        speaker_features(case["in.wav"]),
        case["out.fbank_mean_normalised"],
    )


def test_speaker_embedding(tmp_path, wave):
    weight = speaker_model(tmp_path / "campplus.onnx")
    encoder = SpeakerEncoder(tmp_path / "campplus.onnx")
    embedding = encoder.embed(Audio(wave, 16000))
    want = speaker_features(torch.from_numpy(wave)).abs().mean(dim=0).numpy() @ weight
    assert embedding.shape == (192,)
    np.testing.assert_allclose(embedding, want, rtol=1e-4, atol=1e-4)
    assert encoder.embed(Audio(wave, 8000)).shape == (192,)
    with pytest.raises(AudioError, match="too short"):
        encoder.embed(Audio(wave[:300], 16000))
    speaker_model(tmp_path / "other.onnx", size=7)
    with pytest.raises(ModelError, match="192"):
        SpeakerEncoder(tmp_path / "other.onnx").embed(Audio(wave, 16000))
