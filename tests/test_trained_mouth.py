"""From phonemes to sound through untrained toy models: lengths, determinism, errors."""

import numpy as np
import pytest
import torch

from stepaudio.decoder.regressor import RegressorConfig
from stepaudio.decoder.world import WIDTH
from stepaudio.decoder.world_voice import WorldVoice
from stepaudio.errors import InputError, ModelError
from stepaudio.lm.speech import SpeechLM, SpeechLMConfig
from stepaudio.tokenizer.nano import NanoTokenizerConfig
from stepaudio.training.autoencoder_run import load_run
from stepaudio.training.clips import Scale
from stepaudio.training.judge import pitch_correlation
from stepaudio.training.speech_run import TrainedMouth
from stepaudio.training.tokenizer import Autoencoder


@pytest.fixture
def voice() -> WorldVoice:
    centre = np.zeros(WIDTH, np.float32)
    centre[0], centre[2], centre[-3:] = np.log(140), -10, -5
    return WorldVoice(centre, np.full(41, 0.2, np.float32))


@pytest.fixture
def mouth() -> TrainedMouth:
    torch.manual_seed(0)
    scale = Scale(np.full(WIDTH, 0.05, np.float32), np.zeros(85, np.float32), np.ones(85, np.float32))
    tokenizer = NanoTokenizerConfig(features=8, width=16, inner=24, linguistic_depth=1, semantic_depth=1)
    decoder = RegressorConfig(width=16, inner=16, depth=1, kernel=3, smooth=8)
    lm = SpeechLMConfig(
        phonemes=12, text_width=16, text_depth=1, slot_width=8, width=24, inner=32, depth=1, kernel=3, head=3
    )
    autoencoder = Autoencoder(tokenizer, decoder, torch.from_numpy(scale.frames)).eval()
    return TrainedMouth(SpeechLM(lm).eval(), autoencoder, scale)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_same_seed_gives_the_same_sound(
    mouth: TrainedMouth, voice: WorldVoice, temperature: float
) -> None:
    speaker = np.full(256, 1 / 16, np.float32)
    one, two = (mouth.speak([1, 2, 3, 4], voice, speaker, temperature=temperature, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.samples, two.samples)
    assert one.sample_rate == 24_000
    assert len(one.samples) % (24_000 * 12 // 100) == 0  # whole groups


def test_the_end_is_that_of_the_phonemes(mouth: TrainedMouth, voice: WorldVoice) -> None:
    speaker = np.full(256, 1 / 16, np.float32)
    short = mouth.speak([1] * 5, voice, speaker)
    long = mouth.speak([1] * 40, voice, speaker)
    assert long.seconds > short.seconds


def test_nothing_to_say_is_an_error(mouth: TrainedMouth, voice: WorldVoice) -> None:
    with pytest.raises(InputError, match="no phonemes"):
        mouth.speak([], voice, np.zeros(256, np.float32))


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
