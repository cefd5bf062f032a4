"""Official folders become loadable ones; wrong, truncated and hostile ones give one error and run nothing."""

import io
import json
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import official_folders as official
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from stepaudio.convert import convert_folder
from stepaudio.convert.decoder_yaml import read_cosyvoice, read_flow
from stepaudio.convert.linguistic import PARAFORMER, read_sanm
from stepaudio.convert.pickles import load_state
from stepaudio.convert.shapes import encoder_shapes, flow_shapes, lm_shapes
from stepaudio.convert.tags import read_tagged
from stepaudio.decoder.config import step_audio_2_flow, step_audio_flow
from stepaudio.decoder.files import DecoderConfig
from stepaudio.decoder.flow import load_flow
from stepaudio.decoder.hift import Hift
from stepaudio.decoder.hift_config import HiftConfig
from stepaudio.encoder import EncoderConfig
from stepaudio.errors import ModelError
from stepaudio.hub import is_present, load_card
from stepaudio.lm.config import LMConfig
from stepaudio.tokenizer.linguistic import expected_shapes, from_file
from stepaudio.tokenizer.pair import DualConfig
from stepaudio.tokenizer.sanm import SanmConfig

SHAPES = json.loads((official.GOLDEN / "state_dict_shapes.json").read_text())["models"]
SPEECH = "CosyVoice-300M-25Hz"
# Nothing here looks at ids, so the embedding tables may be small.
STEP1 = {**official.STEP1_CONFIG, "vocab_size": 64}
STEP2 = {**official.STEP2_CONFIG, "text_config": {**official.STEP2_CONFIG["text_config"], "vocab_size": 64}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("official")
    official.tokenizer(root / "Step-Audio-Tokenizer")
    official.tts(root / "Step-Audio-TTS-3B", STEP1)
    official.step1(root / "Step-Audio-Chat", STEP1)
    official.step_audio_2(root / "Step-Audio-2-mini", STEP2)
    return root


@pytest.fixture
def tts(folders: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folders / "Step-Audio-TTS-3B", tmp_path / "Step-Audio-TTS-3B")


@pytest.fixture
def mini(folders: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folders / "Step-Audio-2-mini", tmp_path / "Step-Audio-2-mini")


@pytest.fixture
def tokenizer(folders: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folders / "Step-Audio-Tokenizer", tmp_path / "Step-Audio-Tokenizer")


def refuse(folder: Path, words: str) -> None:
    """Converting `folder` gives one line with `words`, and nothing is left behind."""
    out = folder.parent / "out"
    before = sorted(path.name for path in folder.parent.iterdir())
    with pytest.raises(ModelError, match=words) as caught:
        convert_folder(folder, out)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in folder.parent.iterdir()) == before


# The whole way


def test_tts_folder(tts: Path, tmp_path: Path) -> None:
    out = convert_folder(tts, tmp_path / "out")
    for name in ("decoder", "decoder-music"):
        config = DecoderConfig.model_validate_json((out / name / "decoder.json").read_text())
        assert config.hift.sample_rate == 22050
        assert config.flow.frames(100) == int(100 / 41.67 * 22050 / 256)
        load_flow(config.flow, load_file(out / name / "flow.safetensors"))
        hift = Hift(config.hift)
        hift.load_state_dict(load_file(out / name / "hift.safetensors"), strict=True)
    assert LMConfig.read(out) == LMConfig.from_official(STEP1)
    card = load_card(out)
    assert card.family == "step-audio"
    assert is_present(card)
    assert {file.path for file in card.files} == {
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name != "card.yaml"
    }
    suffixes = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".onnx", ".yaml", ".model"}


def test_converted_vocoder_sounds_like_the_reference(tts: Path, tmp_path: Path) -> None:
    out = convert_folder(tts, tmp_path / "out")
    config = DecoderConfig.model_validate_json((out / "decoder" / "decoder.json").read_text())
    hift = Hift(config.hift).eval()
    hift.load_state_dict(load_file(out / "decoder" / "hift.safetensors"))
    case = load_file(official.GOLDEN / "sa1_hift.safetensors")
    with torch.inference_mode():
        source = hift.excite(case["in.mel"], phase=case["in.phase"], noise=case["in.noise"])
        torch.testing.assert_close(hift(case["in.mel"], source), case["out.wav"], atol=1e-4, rtol=1e-3)


def test_shards_are_not_rewritten(tts: Path, tmp_path: Path) -> None:
    out = convert_folder(tts, tmp_path / "out")
    for shard in tts.glob("*.safetensors"):
        assert (out / shard.name).read_bytes() == shard.read_bytes()


def test_shards_are_copied_where_links_are_not_possible(
    tts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    out = convert_folder(tts, tmp_path / "out")
    shard = next(tts.glob("*.safetensors"))
    assert (out / shard.name).read_bytes() == shard.read_bytes()


def test_tokenizer_folder(tokenizer: Path, tmp_path: Path) -> None:
    out = convert_folder(tokenizer, tmp_path / "out")
    config = DualConfig.model_validate_json((out / "tokenizer.json").read_text()).linguistic
    case = load_file(official.GOLDEN / "sa1_paraformer_vq02.safetensors")
    codes = from_file(out / "linguistic.safetensors", config).encode(case["in.wav"].numpy())
    assert codes == case["out.vq02_indices"].tolist()


def test_step_audio_2_folder(mini: Path, tmp_path: Path) -> None:
    out = convert_folder(mini, tmp_path / "out")
    card = load_card(out)
    assert (card.name, card.family) == ("step-audio-2-mini", "step-audio-2")
    config = DecoderConfig.model_validate_json((out / "decoder" / "decoder.json").read_text())
    assert config.hift.sample_rate == 24000
    load_flow(config.flow, load_file(out / "decoder" / "flow.safetensors"))
    Hift(config.hift).load_state_dict(load_file(out / "decoder" / "hift.safetensors"), strict=True)
    assert (out / "decoder" / "speech_tokenizer_v2_25hz.onnx").is_file()


def test_a_folder_that_holds_all_of_step_audio(folders: Path, tmp_path: Path) -> None:
    both = tmp_path / "models"
    for name in ("Step-Audio-Tokenizer", "Step-Audio-TTS-3B", "Step-Audio-Chat"):
        shutil.copytree(folders / name, both / name)
    out = convert_folder(both, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {
        "step-audio-tokenizer",
        "step-audio-tts-3b",
        "step-audio-chat",
        "card.yaml",
    }
    assert load_card(out).name == "step-audio"


def test_single_file_model_without_an_index(folders: Path, tmp_path: Path) -> None:
    chat = shutil.copytree(folders / "Step-Audio-Chat", tmp_path / "Step-Audio-Chat")
    for shard in chat.glob("*.safetensors*"):
        shard.unlink()
    official.write_shards(chat, lm_shapes(LMConfig.from_official(STEP1)), count=1)
    (chat / "model.safetensors.index.json").unlink()
    assert convert_folder(chat, tmp_path / "out").is_dir()


def test_a_cache_snapshot_of_links_is_followed(tmp_path: Path) -> None:
    repository = tmp_path / "models--stepfun-ai--Step-Audio-Tokenizer"
    snapshot = official.tokenizer(repository / "snapshots" / "0123abcd")
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(p for p in snapshot.rglob("*") if p.is_file())):
        blob = repository / "blobs" / str(number)
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))
    assert convert_folder(snapshot, tmp_path / "out").is_dir()


def test_out_must_not_exist(tts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(ModelError, match="is there already"):
        convert_folder(tts, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


# Real sizes


@pytest.mark.parametrize(
    ("model", "shapes", "elements"),
    [
        ("step_audio_1_flow", flow_shapes(step_audio_flow()), 105_399_040),
        ("step_audio_2_flow", flow_shapes(step_audio_2_flow()), 155_802_352),
        ("step_audio_2_audio_encoder_adaptor", encoder_shapes(EncoderConfig()), 651_852_544),
    ],
)
def test_real_shapes(model: str, shapes: dict[str, tuple[int, ...]], elements: int) -> None:
    assert {key: list(shape) for key, shape in shapes.items()} == SHAPES[model]["shapes"]
    assert sum(map(prod, shapes.values())) == elements


def test_real_paraformer_shapes() -> None:
    shapes = expected_shapes(SanmConfig())
    encoder = {key: list(shape) for key, shape in shapes.items() if key.startswith("encoder.")}
    assert encoder == SHAPES["step_audio_1_paraformer_encoder"]["shapes"]
    assert shapes["centroids"] == (1024, 512)


def test_real_language_model_sizes() -> None:
    tts_3b = {
        **official.STEP1_CONFIG,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
    }
    tts_3b |= {"num_attention_heads": 48, "num_attention_groups": 4, "max_seq_len": 32768}
    shapes = lm_shapes(LMConfig.from_official(tts_3b))
    assert sum(map(prod, shapes.values())) == 3_529_706_496
    chat = {**tts_3b, "hidden_size": 12288, "intermediate_size": 31232, "num_hidden_layers": 88}
    chat |= {"num_attention_heads": 96, "num_attention_groups": 8}
    assert round(sum(map(prod, lm_shapes(LMConfig.from_official(chat)).values())) / 1e7) == 13195
    text = {**official.STEP2_CONFIG["text_config"], "hidden_size": 3584, "intermediate_size": 18944}
    text |= {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}
    shapes = lm_shapes(LMConfig.from_official({"model_type": "step_audio_2", "text_config": text}))
    assert len(shapes) + len(encoder_shapes(EncoderConfig())) == 832
    assert round(sum(map(prod, shapes.values())) / 1e6) == 7663


def test_yaml_of_the_real_sizes() -> None:
    text = official.COSYVOICE_YAML
    for tiny, real in (
        ("input_size: 24", "input_size: 512"),
        ("output_size: 32", "output_size: 512"),
        ("attention_heads: 4", "attention_heads: 8"),
        ("linear_units: 64", "linear_units: 2048"),
        ("num_blocks: 2", "num_blocks: 6"),
        ("channels: [24, 24]", "channels: [256, 256]"),
        ("attention_head_dim: 10", "attention_head_dim: 64"),
        ("n_blocks: 1", "n_blocks: 4"),
        ("num_mid_blocks: 2", "num_mid_blocks: 12"),
        ("num_heads: 3", "num_heads: 8"),
        ("base_channels: 32", "base_channels: 512"),
        ("cond_channels: 32", "cond_channels: 512"),
    ):
        assert tiny in text
        text = text.replace(tiny, real)
    config = read_cosyvoice(text, "cosyvoice.yaml")
    assert config.flow == step_audio_flow()
    assert config.hift == HiftConfig.step_audio()


def test_step_audio_2_yaml_without_a_vocoder_means_the_class_defaults() -> None:
    assert read_flow(official.FLOW_YAML, "flow.yaml").hift == HiftConfig.step_audio_2()


# Hostile and damaged folders


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (Bomb.target,)

    target = ""


@pytest.mark.parametrize("name", ["flow.pt", "hift.pt"])
def test_pickle_with_code(tts: Path, tmp_path: Path, name: str) -> None:
    Bomb.target = str(tmp_path / "ran")
    torch.save({"conv_pre.bias": Bomb()}, tts / SPEECH / name)
    refuse(tts, f"{name}: refused")
    assert not (tmp_path / "ran").exists()


def test_bare_pickle_with_code(tts: Path, tmp_path: Path) -> None:
    Bomb.target = str(tmp_path / "ran")
    (tts / SPEECH / "flow.pt").write_bytes(pickle.dumps(Bomb()))
    refuse(tts, r"flow\.pt: (refused|cannot be read)")
    assert not (tmp_path / "ran").exists()


def test_pickled_array(tokenizer: Path, tmp_path: Path) -> None:
    Bomb.target = str(tmp_path / "ran")
    np.save(tokenizer / "linguistic_tokenizer.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    refuse(tokenizer, "not a plain NumPy array")
    (tokenizer / "linguistic_tokenizer.npy").write_bytes(pickle.dumps(Bomb()))
    refuse(tokenizer, "not a plain NumPy array")
    assert not (tmp_path / "ran").exists()


def test_paraformer_pickle_with_code(tokenizer: Path, tmp_path: Path) -> None:
    Bomb.target = str(tmp_path / "ran")
    torch.save({"state_dict": {"encoder.after_norm.bias": Bomb()}}, tokenizer / PARAFORMER / "model.pt")
    refuse(tokenizer, r"model\.pt: refused")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ([torch.zeros(1)], "not a state dict"),
        ({"a": "text"}, "'a' is a str"),
        ({3: torch.zeros(1)}, "'3' is a Tensor"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "not a plain dense tensor"),
        ({"a": torch.zeros(1, device="meta")}, "not a plain dense tensor"),
    ],
)
def test_states_that_are_none(tmp_path: Path, state: object, words: str) -> None:
    torch.save(state, tmp_path / "flow.pt")
    with pytest.raises(ModelError, match=words):
        load_state(tmp_path / "flow.pt")


def test_compressed_pickle(tts: Path) -> None:
    path = tts / SPEECH / "flow.pt"
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    path.write_bytes(packed.getvalue())
    refuse(tts, "records are compressed")


@given(st.floats(0.0, 0.999))
@settings(max_examples=25, deadline=None)
def test_truncated_pickle(keep: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.pt"
        torch.save({"a": torch.zeros(64), "b": torch.ones(3)}, path)
        official.truncate(path, keep)
        with pytest.raises(ModelError):
            load_state(path)


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_arbitrary_bytes_are_no_pickle_and_no_yaml(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.pt"
        path.write_bytes(data)
        with pytest.raises(ModelError):
            load_state(path)
    with pytest.raises(ModelError):
        read_cosyvoice(data.decode("latin-1"), "cosyvoice.yaml")


@pytest.mark.parametrize("name", ["flow.pt", "hift.pt", "cosyvoice.yaml", "campplus.onnx"])
def test_missing_and_truncated_decoder_files(tts: Path, name: str) -> None:
    path = tts / SPEECH / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    refuse(tts, name.replace(".", r"\."))
    path.write_bytes(b"")
    refuse(tts, f"{name} is empty")
    path.unlink()
    refuse(tts, f"{name} is missing")


def test_missing_decoder_folder(tts: Path) -> None:
    shutil.rmtree(tts / "CosyVoice-300M-25Hz-Music")
    refuse(tts, "folder CosyVoice-300M-25Hz-Music is missing")


def test_wrong_shape_missing_and_unknown_tensor(tts: Path) -> None:
    path = tts / SPEECH / "flow.pt"
    state = official.golden_weights("sa1_flow_prompt")
    torch.save({**state, "spk_embed_affine_layer.weight": torch.zeros(80, 100)}, path)
    refuse(tts, r"spk_embed_affine_layer.weight has shape \[80, 100\], the configuration says \[80, 192\]")
    torch.save({**state, "backdoor": torch.zeros(1)}, path)
    refuse(tts, "unknown tensor backdoor")
    del state["encoder_proj.bias"]
    torch.save(state, path)
    refuse(tts, r"flow\.pt: lacks encoder_proj.bias")


def test_a_huge_shape_over_a_small_storage_is_refused_before_it_is_copied(tts: Path) -> None:
    state = official.golden_weights("sa1_flow_prompt")
    huge = torch.zeros(1).expand(1 << 40)
    torch.save({**state, "encoder_proj.bias": huge}, tts / SPEECH / "flow.pt")
    refuse(tts, r"encoder_proj.bias has shape \[1099511627776\]")


def test_tensors_that_are_no_numbers(tts: Path) -> None:
    state = official.golden_weights("sa1_hift")
    torch.save({**state, "conv_pre.bias": torch.full((32,), float("nan"))}, tts / SPEECH / "hift.pt")
    refuse(tts, "conv_pre.bias holds a value that is not a finite number")
    torch.save({**state, "conv_pre.bias": torch.zeros(32, dtype=torch.long)}, tts / SPEECH / "hift.pt")
    refuse(tts, "conv_pre.bias has dtype torch.int64")


def test_half_a_weight_norm(mini: Path) -> None:
    state = official.golden_weights("sa2_hift", "generator.")
    del state["generator.conv_pre.parametrizations.weight.original0"]
    torch.save(state, mini / "token2wav" / "hift.pt")
    refuse(mini, r"lacks conv_pre.parametrizations.weight.original0")


# Shards


def test_missing_shard_is_named(tts: Path) -> None:
    (tts / "model-00002-of-00002.safetensors").unlink()
    refuse(tts, "shard model-00002-of-00002.safetensors is missing")


def test_truncated_shard(mini: Path) -> None:
    official.truncate(mini / "model-00003-of-00003.safetensors")
    refuse(mini, "model-00003-of-00003.safetensors is damaged or truncated")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/b.safetensors", "", ".safetensors", 3, None]
)
def test_index_with_an_absurd_path(tts: Path, name: object) -> None:
    index = tts / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"]["model.norm.weight"] = name
    index.write_text(json.dumps(data))
    refuse(tts, "which is not a shard's name")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"weight_map": []}', '{"weight_map": {}}', "[" * 100000, "\udcff"]
)
def test_broken_index(tts: Path, text: str) -> None:
    (tts / "model.safetensors.index.json").write_text(text, errors="surrogateescape")
    refuse(tts, r"model\.safetensors\.index\.json")


def test_index_that_does_not_agree_with_the_shard(tts: Path) -> None:
    index = tts / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"]["lm_head.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(data))
    refuse(tts, "lacks lm_head.weight, which the index says it holds")
    del data["weight_map"]["lm_head.weight"]
    index.write_text(json.dumps(data))
    refuse(tts, "holds lm_head.weight, which the index does not know")


def test_language_model_of_another_size(tts: Path) -> None:
    config = {**STEP1, "intermediate_size": 128}
    (tts / "config.json").write_text(json.dumps(config))
    refuse(tts, r"mlp.gate_proj.weight has shape \[96, 48\], the configuration says \[128, 48\]")


def test_shard_that_is_not_floating_point(tts: Path) -> None:
    def change(header: dict[str, dict[str, object]]) -> None:
        header["model.norm.weight"]["dtype"] = "I16"

    official.rewrite_header(tts / "model-00002-of-00002.safetensors", change)
    refuse(tts, "model.norm.weight has dtype I16")


def test_unknown_model_type(tts: Path, tmp_path: Path) -> None:
    (tts / "config.json").write_text(json.dumps({**STEP1, "model_type": "gpt2"}))
    refuse(tts, "'gpt2' is not one of")


def test_audio_encoder_with_an_unknown_key(mini: Path) -> None:
    config = json.loads((mini / "config.json").read_text())
    config["audio_encoder_config"]["surprise"] = 1
    (mini / "config.json").write_text(json.dumps(config))
    refuse(mini, "unknown key surprise")


# Links


def test_link_out_of_the_folder(tts: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (tts / "tokenizer_config.json").unlink()
    (tts / "tokenizer_config.json").symlink_to(secret)
    refuse(tts, "tokenizer_config.json is a link that leads out of the folder")


def test_linked_decoder_folder(tts: Path, tmp_path: Path) -> None:
    (tts / SPEECH).rename(tmp_path / "elsewhere")
    (tts / SPEECH).symlink_to(tmp_path / "elsewhere")
    refuse(tts, f"{SPEECH} is a link that leads out of the folder")


def test_link_to_itself(tts: Path) -> None:
    (tts / "config.json").unlink()
    (tts / "config.json").symlink_to("config.json")
    refuse(tts, "config.json")


def test_no_official_folder(tmp_path: Path) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    refuse(inner, "not an official folder")
    with pytest.raises(ModelError, match="no such folder"):
        convert_folder(tmp_path / "nothing", tmp_path / "out")


# YAML


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x: !!python/object/apply:os.system ['touch ran']", "unknown tag '!!python/object/apply:os.system'"),
        ("x: !apply:os.system ['touch ran']", "!apply:os.system is not one of those"),
        ("x: !new:subprocess.Popen\n    args: [touch, ran]", "!new:subprocess.Popen is not one of those"),
        ("x: !name:os.system", "!name:os.system is not one of those"),
        ("x: !include:/etc/passwd", "unknown tag '!include:/etc/passwd'"),
        ("x: !copy <flow>", "unknown tag '!copy'"),
        ("x: !tuple (1, 2)", "unknown tag '!tuple'"),
        ("x: !ref <nothing>", "'nothing', which is not there"),
        ("x: !ref <y>\ny: !ref <x>", "goes in a circle"),
        ("x: !ref <sample_rate> * 2", "not a plain reference"),
        ("x: !ref <flow[vocab]>", "names nothing"),
        ("x: &a [1]\ny: *a", "anchors and aliases"),
        ("sample_rate: 24000", "'sample_rate' is given twice"),
        ("x: 2001-01-01", "unknown tag '!!timestamp'"),
        ("x: !!binary aGk=", "unknown tag '!!binary'"),
        ("<<: {a: 1}", "keys must be plain words"),
        ("x: " + "[" * 60 + "]" * 60, "nested too deeply"),
        ("x: " + "[" * 20000 + "]" * 20000, "nested too deeply"),
        ("x: '" + "a" * 300_000 + "'", "characters are too many"),
        ("x: [", "not valid YAML"),
    ],
)
def test_hostile_yaml(line: str, words: str) -> None:
    text = official.COSYVOICE_YAML + line + "\n"
    with pytest.raises(ModelError) as caught:
        read_cosyvoice(text, "cosyvoice.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("MaskedDiffWithXvec", "Other", "flow must be !new:cosyvoice.flow.flow.MaskedDiffWithXvec"),
        ("ConformerEncoder\n", "TransformerEncoder\n", "encoder must be !new:"),
        ("use_cnn_module: False", "use_cnn_module: True", "use_cnn_module must be False"),
        ("    vocab_size: 5120", "    vocab_size: -1", "vocab_size"),
        ("    vocab_size: 5120\n", "", "vocab_size is missing"),
        ("    vocab_size: 5120", "    vocab_size: many", "vocab_size"),
        ("    vocab_size: 5120", "    vocab_size: 5120\n    hook: 1", "unknown argument hook"),
        ("[1, 1, 1, 1]", "[1, 2, 1, 1]", "sampling_ratios must all be 1"),
        ("[1, 1, 1, 1]", "many", "sampling_ratios must all be 1"),
        ("solver: 'euler'", "solver: 'midpoint'", "solver must be euler"),
        ("t_scheduler: 'cosine'", "t_scheduler: 'sudden'", "schedule"),
        ("act_fn: 'gelu'", "act_fn: 'snake'", "act_fn must be 'gelu'"),
        ("upsample_rates: [8, 8]", "upsample_rates: [8, 4]", "samples a frame"),
        ("audio_limit: 0.99", "audio_limit: 0.99\n    hook: 1", "unknown vocoder settings: hook"),
        ("!new:omegaconf.DictConfig", "!name:omegaconf.DictConfig.__init__", "is not one of those"),
    ],
)
def test_yaml_that_asks_for_something_else(old: str, new: str, words: str) -> None:
    assert old in official.COSYVOICE_YAML
    with pytest.raises(ModelError) as caught:
        read_cosyvoice(official.COSYVOICE_YAML.replace(old, new), "cosyvoice.yaml")
    assert words in str(caught.value)


def test_references_are_followed_without_copying() -> None:
    text = "a: {b: {c: 7}}\nx: !ref <a[b][c]>\ny: !ref <a.b>\nz: [!ref <x>, !ref <y>]\n"
    data = read_tagged(text, "test", lambda kind, name: False)
    assert data["x"] == 7
    assert data["z"] == [7, {"c": 7}]
    # Forty doublings would be 2^40 items if references were expanded.
    chain = "a0: [1]\n" + "".join(f"a{i + 1}: [!ref <a{i}>, !ref <a{i}>]\n" for i in range(40))
    assert len(read_tagged(chain, "test", lambda kind, name: False)["a40"]) == 2


def test_paraformer_yaml(tokenizer: Path) -> None:
    for old, new, words in (
        ("encoder: SANMEncoderChunkOpt", "encoder: Conformer", "encoder must be"),
        ("lfr_n: 6", "lfr_n: 4", "frontend_conf.lfr_n must be 6"),
        ("num_blocks: 3", "num_blocks: 0", "layers"),
        ("num_blocks: 3", "num_blocks: !!python/name:os.system", "unknown tag"),
        ("num_blocks: 3", "num_blocks: 4", "lacks encoder.encoders.2"),
    ):
        assert old in official.PARAFORMER_YAML
        (tokenizer / PARAFORMER / "config.yaml").write_text(official.PARAFORMER_YAML.replace(old, new))
        refuse(tokenizer, words)
    with pytest.raises(ModelError, match="frontend_conf is missing"):
        read_sanm("encoder: SANMEncoderChunkOpt\n", "config.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [("<AddShift> 2 2\n<LearnRateCoef> 0 [ 1 2 ]\n", "Rescale"), ("<AddShift> [ a ]", "am.mvn")],
)
def test_broken_normalisation(tokenizer: Path, text: str, words: str) -> None:
    (tokenizer / PARAFORMER / "am.mvn").write_text(text)
    refuse(tokenizer, words)


@pytest.mark.parametrize("array", [np.zeros((10, 32), np.float32), np.zeros((1024, 31), np.float32)])
def test_centroids_of_another_shape(tokenizer: Path, array: np.ndarray) -> None:
    np.save(tokenizer / "linguistic_tokenizer.npy", array)
    refuse(tokenizer, "centroids has shape")


def test_centroids_that_claim_more_than_they_have(tokenizer: Path) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 512)}
    with (tokenizer / "linguistic_tokenizer.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(64))
    refuse(tokenizer, "linguistic_tokenizer.npy claims to be larger than memory")


def test_converting_from_the_command_line(tts: Path, tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from stepaudio.cli.convert import convert

    app = typer.Typer()
    app.command()(convert)
    result = CliRunner().invoke(app, [str(tts), "-o", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["family"] == "step-audio"
    with safe_open(tmp_path / "out" / "decoder" / "hift.safetensors", "pt") as file:
        assert "conv_pre.weight" in file.keys()  # noqa: SIM118
