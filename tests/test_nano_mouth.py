"""nano's own mouth and codec around untrained toy models: lengths, determinism, styles, errors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stepaudio.audio import Audio, concat
from stepaudio.codes import Codes
from stepaudio.decoder.config import DiTConfig
from stepaudio.decoder.regressor import RegressorConfig
from stepaudio.decoder.world import WIDTH
from stepaudio.decoder.world_flow import WorldFlow, WorldFlowConfig
from stepaudio.decoder.world_voice import Scale
from stepaudio.errors import InputError, ModelError
from stepaudio.families.nano_codec import NanoCodec
from stepaudio.families.nano_mouth import NanoMouth
from stepaudio.families.nano_speech import NanoSpeech, NanoSpeechConfig
from stepaudio.lm.speech import SpeechLM, SpeechLMConfig
from stepaudio.styles import Style, parse_style
from stepaudio.tokenizer.nano import NanoTokenizer, NanoTokenizerConfig
from stepaudio.training.autoencoder_run import load_run
from stepaudio.training.judge import pitch_correlation
from stepaudio.voices import Voice, VoiceInfo, mix

TEXT = "Hello there, how are you?"
SYMBOLS = " ,.?!abdefhijklmnoprstuvwzæðŋɑɔəɛɜɡɪɹʃʊʌʒʤʧˈˌθAIOWYTᵊ"
CONFIG = NanoSpeechConfig(
    tokenizer=NanoTokenizerConfig(features=8, width=16, inner=24, linguistic_depth=1, semantic_depth=1),
    decoder=WorldFlowConfig(
        regressor=RegressorConfig(width=16, inner=16, depth=1, kernel=3, smooth=8),
        estimator=DiTConfig(hidden_size=24, depth=1, num_heads=2, head_dim=8),
    ),
    language_model=SpeechLMConfig(
        phonemes=60,
        text_width=16,
        text_depth=1,
        slot_width=8,
        slot_depth=1,
        width=24,
        inner=32,
        ahead=1,
        depth=1,
        kernel=3,
        head=3,
    ),
    phonemes={symbol: index + 1 for index, symbol in enumerate(SYMBOLS)},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    frames = np.full(WIDTH, 0.05, np.float32)
    frames[1] = 1.0
    scale = Scale(frames, np.zeros(85, np.float32), np.ones(85, np.float32))
    models = NanoSpeech(
        CONFIG,
        NanoTokenizer(CONFIG.tokenizer),
        SpeechLM(CONFIG.language_model),
        WorldFlow(CONFIG.decoder),
        scale,
    )
    torch.nn.init.constant_(models.lm.duration[-1].bias, float(np.log(3.0)))
    with torch.no_grad():  # voiced, else pitch could not be heard
        models.decoder.regressor.out.bias.reshape(-1, WIDTH)[:, 1] = 8.0
    out = tmp_path_factory.mktemp("speech")
    models.save(out)
    return out


@pytest.fixture
def mouth(folder: Path) -> NanoMouth:
    return NanoMouth(folder).load()


def make_voice(name: str = "toy", hertz: float = 140.0) -> Voice:
    centre = np.zeros(WIDTH, np.float32)
    centre[0], centre[2], centre[-3:] = np.log(hertz), -10, -5
    tensors = {
        "centre": centre,
        "spread": np.full(41, 0.2, np.float32),
        "speaker": np.full(256, 1 / 16, np.float32),
        "prompt_linguistic": np.arange(6, dtype=np.float32),
        "prompt_semantic": np.arange(9, dtype=np.float32),
        "prompt_frames": np.zeros((36, WIDTH), np.float16),
    }
    return Voice(VoiceInfo(name, "nano", "world-voice", "en-us", "male", "Apache-2.0"), tensors)


def say(mouth: NanoMouth, style: str = "", text: str = TEXT, seed: int = 0) -> Audio:
    return concat(list(mouth.speak(text, voice=make_voice(), style=parse_style(style), seed=seed)))


def test_the_same_seed_gives_the_same_sound(mouth: NanoMouth) -> None:
    one, two, other = say(mouth, seed=5), say(mouth, seed=5), say(mouth, seed=6)
    np.testing.assert_array_equal(one.samples, two.samples)
    assert one.sample_rate == 24_000
    assert not np.array_equal(one.samples, other.samples)


def test_speech_comes_in_chunks_before_the_end(mouth: NanoMouth) -> None:
    text = "It was a long sentence, and it had to go on for a good while before it was over."
    chunks = list(mouth.speak(text, voice=make_voice(), style=Style(), seed=0))
    assert len(chunks) > 3
    whole = concat(chunks)
    assert chunks[0].seconds < 0.5 * whole.seconds
    assert np.isfinite(whole.samples).all()


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.3, 2.0])
def test_speed_is_a_factor_on_the_length(mouth: NanoMouth, speed: float) -> None:
    plain, changed = say(mouth), say(mouth, f"speed={speed}")
    assert changed.seconds == pytest.approx(plain.seconds / speed, rel=0.04, abs=0.13)


@pytest.mark.parametrize(
    "style", ["happy", "whisper", "monotone", "humming", "singing, melody=C4 D4 E4:2", "rap", "pitch=3"]
)
def test_every_kind_of_style_makes_other_sound(mouth: NanoMouth, style: str) -> None:
    plain, styled = say(mouth), say(mouth, style)
    assert styled.seconds > 0.3
    assert np.isfinite(styled.samples).all()
    assert not np.array_equal(plain.samples, styled.samples)


def test_nothing_to_say_and_a_language_it_cannot_speak_are_errors(mouth: NanoMouth) -> None:
    with pytest.raises(InputError, match="nothing to say"):
        say(mouth, text="...!")
    with pytest.raises(InputError, match="cannot say"):
        say(mouth, text="你好世界")


def test_a_mix_speaks_with_the_prompt_of_the_heavier_voice(mouth: NanoMouth) -> None:
    low, high = make_voice("low", 100.0), make_voice("high", 200.0)
    high.tensors["prompt_linguistic"][:] = 7  # type: ignore[index]
    both = mix({low: 0.4, high: 0.6})
    assert both.tensors["centre"][0] == pytest.approx(0.4 * np.log(100) + 0.6 * np.log(200), rel=1e-5)
    assert set(both.tensors["prompt_linguistic"]) == {7}
    assert sum(a.seconds for a in mouth.speak(TEXT, voice=both, style=Style())) > 0.3


def test_a_voice_of_another_shape_is_an_error(mouth: NanoMouth) -> None:
    voice = make_voice()
    bad = Voice(voice.info, {**voice.tensors, "speaker": np.zeros(255, np.float32)})
    with pytest.raises(ModelError, match="speaker"):
        list(mouth.speak(TEXT, voice=bad, style=Style()))


def test_damaged_weights_are_one_clear_error(folder: Path, tmp_path: Path) -> None:
    for name in ("speech.json", "speech.safetensors"):
        data = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(data)
    (tmp_path / "speech.safetensors").write_bytes((folder / "speech.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        NanoSpeech.load(tmp_path)
    (tmp_path / "speech.json").write_text('{"unknown": 1}')
    with pytest.raises(ModelError, match="not a usable configuration"):
        NanoSpeech.load(tmp_path)


def test_codes_are_decoded_to_the_length_of_the_clip(mouth: NanoMouth, tmp_path: Path) -> None:
    codec = NanoCodec(mouth, tmp_path, tmp_path)
    codes = Codes(tuple(range(9)), tuple(range(14)), 0.55)  # the last group is short
    made = codec.decode(codes, voice=make_voice(), seed=1)
    assert made.seconds == pytest.approx(0.55, abs=1e-3)
    np.testing.assert_array_equal(made.samples, codec.decode(codes, voice=make_voice(), seed=1).samples)
    with pytest.raises(InputError, match="no codes to decode"):
        codec.decode(Codes((), (), 0.0), voice=make_voice())


def test_a_run_that_was_never_trained_is_an_error(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match="nothing has been trained there yet"):
        load_run(tmp_path, "tokenizer")


def test_pitch_correlation_follows_the_melody() -> None:
    from stepaudio.decoder.world import WorldFrames, synthesise

    def sung(phase: float):  # type: ignore[no-untyped-def]
        frames = 120
        f0 = 150 * np.exp(0.2 * np.sin(np.arange(frames) / 12 + phase))
        spectrum = np.zeros((frames, 40), np.float32)
        spectrum[:, 0] = -40
        return synthesise(WorldFrames(f0.astype(np.float32), spectrum, np.full((frames, 3), -40, np.float32)))

    assert pitch_correlation(sung(0), sung(0)) == pytest.approx(1)
    assert pitch_correlation(sung(0), sung(np.pi)) < -0.8
