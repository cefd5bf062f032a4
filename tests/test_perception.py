"""The loss that hears: what it reads, that it tells frames apart, and that Whisper agrees."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stepaudio import hub
from stepaudio.convert.ctranslate2_file import read_ctranslate2
from stepaudio.decoder.world import SPECTRUM, WIDTH, analyse
from stepaudio.decoder.world_voice import SPEAKER, STATISTICS, Scale
from stepaudio.encoder import Encoder
from stepaudio.errors import ModelError
from stepaudio.features.whisper import WhisperFeatures
from stepaudio.training.perception import TINY, Perception, load_encoder


def model_file(tensors: dict[str, np.ndarray], version: int = 6) -> bytes:
    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    kinds = {np.dtype(np.float32): 0, np.dtype(np.float16): 4}
    parts = [struct.pack("<I", version), string("WhisperSpec"), struct.pack("<II", 3, len(tensors))]
    for name, tensor in tensors.items():
        shape = struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
        parts += [
            string(name),
            shape,
            struct.pack("<BI", kinds[tensor.dtype], tensor.nbytes),
            tensor.tobytes(),
        ]
    return b"".join([*parts, struct.pack("<I", 0)])


def test_tensors_of_a_ctranslate2_file_come_back(tmp_path: Path) -> None:
    tensors: dict[str, np.ndarray] = {
        "encoder/a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "decoder/a": np.ones(2, np.float32),
        "encoder/b": np.array([0.5], np.float16),
    }
    (tmp_path / "model.bin").write_bytes(model_file(tensors))
    found = read_ctranslate2(tmp_path / "model.bin", "encoder/")
    assert list(found) == ["a", "b"]
    assert all(np.array_equal(found[name], tensors[f"encoder/{name}"]) for name in found)
    assert found["b"].dtype == np.float16


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:30], lambda data: b"{}"])
def test_a_damaged_ctranslate2_file_is_told(damage: object, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(damage(model_file({"encoder/a": np.zeros(8, np.float32)})))  # type: ignore[operator]
    with pytest.raises(ModelError, match=r"model\.bin: not a CTranslate2 model of version 6"):
        read_ctranslate2(path)
    path.write_bytes(model_file({}, version=5))
    with pytest.raises(ModelError, match="version 5"):
        read_ctranslate2(path)


def perception(encoder: Encoder) -> Perception:
    scale = Scale(
        np.ones(WIDTH, np.float32), np.zeros(STATISTICS, np.float32), np.ones(STATISTICS, np.float32)
    )
    torch.manual_seed(0)
    return Perception(encoder, scale, nn.Linear(TINY.n_state, 5))


def test_equal_frames_sound_alike_and_others_learn_to() -> None:
    torch.manual_seed(0)
    hears = perception(Encoder(TINY).eval().requires_grad_(False))
    wanted, voice = torch.randn(2, 24, WIDTH), torch.randn(2, STATISTICS + SPEAKER)
    inner = hears(wanted[..., 2 : 2 + SPECTRUM] + voice[:, None, 1 : 1 + SPECTRUM])
    whisper = hears.encoder.after_norm(inner[-1])
    same = hears.compare(wanted, wanted, voice, whisper)
    assert float(same["perceived"]) < 1e-6
    assert float(same["phonetic"]) < 1e-6
    made = (wanted + 0.3 * torch.randn_like(wanted)).requires_grad_()
    other = hears.compare(made, wanted, voice, whisper)
    assert float(other["perceived"].detach()) > 1e-3
    assert float(other["phonetic"].detach()) > 0
    sum(other.values()).backward()  # type: ignore[union-attr]
    moved = made.grad.abs().sum((0, 1)) > 0  # type: ignore[union-attr]
    assert moved[2 : 2 + SPECTRUM].all()
    assert not moved[:2].any()
    assert not moved[2 + SPECTRUM :].any()
    assert all(value.grad is None for value in hears.parameters())


def test_whisper_hears_frames_as_it_hears_sound() -> None:
    try:
        folder = hub.folder("whisper-tiny.en")
        teacher = hub.folder("kokoro-82m")
    except ModelError as error:
        pytest.skip(str(error))
    import stepaudio

    assert teacher.is_dir()
    spoken = (
        stepaudio.load("nano-kokoro").speak("The quick brown fox jumps over the lazy dog.").resample(16_000)
    )
    frames = torch.from_numpy(analyse(spoken, method="harvest").to_array())[None]
    hears = perception(load_encoder(folder))
    hidden = hears.encoder.embed(hears.log_mel(frames[..., 2 : 2 + SPECTRUM]))
    for block in hears.encoder.blocks:
        hidden = block(hidden, None)
    ours = hears.encoder.after_norm(hidden)[0].numpy()
    theirs = WhisperFeatures(folder).clip(spoken.samples)
    length = min(len(ours), len(theirs))
    correlation = np.corrcoef(ours[:length].ravel(), theirs[:length].ravel())[0, 1]
    print(f"correlation {correlation:.3f}")
    assert correlation > 0.93
