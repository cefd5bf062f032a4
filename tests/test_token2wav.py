"""Flow and vocoder together: converted folders become sound, offline and streamed."""

from pathlib import Path

import numpy as np
import official_folders as official
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.convert.decoder import convert_cosyvoice, convert_token2wav
from stepaudio.convert.draft import drafting
from stepaudio.convert.source import SourceFolder
from stepaudio.decoder.config import StreamOptions
from stepaudio.decoder.token2wav import DecoderPair, Token2Wav, VoicePrompt, to_pcm16
from stepaudio.errors import InputError, ModelError

SHORT = StreamOptions(chunk_codes=5, lookahead_codes=2, context_codes=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("decoders")
    speech = SourceFolder(official.cosyvoice(root / "cosyvoice"))
    token2wav = SourceFolder(official.token2wav(root / "token2wav"))
    with drafting(root / "out") as draft:
        convert_cosyvoice(speech, draft, "decoder/")
        convert_cosyvoice(speech, draft, "decoder-music/")
        convert_token2wav(token2wav, draft, "step-audio-2/")
    return root / "out"


@pytest.fixture(scope="module")
def decoders(folder: Path) -> dict[str, Token2Wav]:
    return {name: Token2Wav.from_folder(folder / name, options=SHORT) for name in ("decoder", "step-audio-2")}


def prompt(decoder: Token2Wav, codes: int = 6) -> VoicePrompt:
    generator = torch.Generator().manual_seed(7)
    frames = decoder.flow.config.frames(codes)
    return VoicePrompt.from_arrays(
        {
            "speaker": torch.randn(192, generator=generator).numpy(),
            "codes": torch.randint(0, 5000, (codes,), generator=generator).numpy(),
            "mel": (torch.randn(80, frames, generator=generator) - 5).numpy(),
        }
    )


def codes_of(number: int) -> torch.Tensor:
    return torch.randint(0, 5000, (1, number), generator=torch.Generator().manual_seed(number))


@pytest.mark.parametrize("name", ["decoder", "step-audio-2"])
def test_offline_and_streamed_sound_have_the_same_length(decoders: dict[str, Token2Wav], name: str) -> None:
    decoder, codes = decoders[name], codes_of(23)
    voice = prompt(decoder)
    whole = decoder.decode(codes, voice, seed=1)
    assert whole.dtype == np.float32
    assert len(whole) == decoder.flow.config.frames(23) * decoder.hift.config.samples_per_frame
    assert np.array_equal(whole, decoder.decode(codes, voice, seed=1))
    assert not np.array_equal(whole, decoder.decode(codes, voice, seed=2))
    state = decoder.start(voice, seed=1)
    parts = [decoder.push(state, codes), decoder.finish(state)]
    assert len(parts[0]) > 0
    assert abs(sum(map(len, parts)) - len(whole)) <= decoder.hift.config.samples_per_frame
    if name == "step-audio-2":
        assert sum(map(len, parts)) == len(whole)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.sampled_from(["decoder", "step-audio-2"]))
@settings(max_examples=8, deadline=None)
def test_how_codes_are_pushed_does_not_change_the_sound(
    decoders: dict[str, Token2Wav], sizes: list[int], name: str
) -> None:
    decoder, codes = decoders[name], codes_of(sum(sizes))
    voice = prompt(decoder)
    one, other = decoder.start(voice, seed=3), decoder.start(voice, seed=3)
    pieces = [decoder.push(one, piece) for piece in codes.split(sizes, dim=1)]
    at_once = [decoder.push(other, codes), decoder.finish(other)]
    np.testing.assert_array_equal(np.concatenate([*pieces, decoder.finish(one)]), np.concatenate(at_once))


def test_a_stream_starts_again_without_the_prompts_work(decoders: dict[str, Token2Wav]) -> None:
    decoder, codes = decoders["step-audio-2"], codes_of(12)
    warm = decoder.start(prompt(decoder), seed=4)
    first, second = decoder.again(warm, seed=4), decoder.again(warm, seed=4)
    sound = decoder.push(first, codes)
    np.testing.assert_array_equal(decoder.push(second, codes), sound)
    np.testing.assert_array_equal(decoder.finish(second), decoder.finish(first))


def test_the_tag_chooses_the_decoder(folder: Path) -> None:
    pair = DecoderPair.from_folder(folder, flow_dtype=torch.bfloat16)
    assert pair.choose("music") is pair.music
    assert pair.choose("speech") is pair.speech
    assert pair.speech.flow.encoder_proj.weight.dtype == torch.bfloat16
    sound = pair.speech.decode(codes_of(5), prompt(pair.speech))
    assert np.isfinite(sound).all()


def test_what_does_not_fit_is_refused(folder: Path, decoders: dict[str, Token2Wav], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no usable mel"):
        VoicePrompt.from_arrays({"speaker": np.zeros(192), "codes": np.zeros(3)})
    with pytest.raises(InputError, match="no usable codes"):
        VoicePrompt.from_arrays(
            {"speaker": np.zeros(192), "codes": np.zeros((1, 3)), "mel": np.zeros((80, 6))}
        )
    with pytest.raises(InputError, match="no codes"):
        decoders["decoder"].decode(codes_of(0), prompt(decoders["decoder"]))
    with pytest.raises(ModelError, match=r"decoder\.json"):
        Token2Wav.from_folder(tmp_path)
    (tmp_path / "decoder.json").write_text("{}")
    with pytest.raises(ModelError, match=r"decoder\.json: flow"):
        Token2Wav.from_folder(tmp_path)
    (tmp_path / "decoder.json").write_bytes((folder / "decoder" / "decoder.json").read_bytes())
    (tmp_path / "flow.safetensors").write_bytes((folder / "decoder" / "flow.safetensors").read_bytes())
    (tmp_path / "hift.safetensors").write_bytes((folder / "step-audio-2" / "hift.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"hift\.safetensors"):
        Token2Wav.from_folder(tmp_path)


def test_pcm_is_truncated_toward_zero() -> None:
    samples = np.array([0.0, 1.5, -1.5, 0.99999, -0.99999], np.float32)
    assert to_pcm16(samples).tolist() == [0, 32767, -32767, 32766, -32766]
