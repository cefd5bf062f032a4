import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import check
from pydantic import ValidationError
from safetensors.torch import load_file

from stepaudio.features import fbank, mel, normalise
from stepaudio.features.resample import Resampler, resample
from stepaudio.pieces import TAIL_PADDING


def test_mel_front_ends_equal_the_reference(golden):
    case = load_file(golden / "mel_frontends.safetensors")
    wave16, wave22, wave24 = (case[f"in.wav{rate}"] for rate in (16000, 22050, 24000))
    short = wave16[:1234]
    got = {
        "mel_filters_128": mel.mel_filterbank(mel.WHISPER_128),
        "whisper128_nopad": mel.whisper_log_mel(wave16),
        "whisper128_pad479": mel.whisper_log_mel(wave16, right_padding=TAIL_PADDING),
        "whisper128_nopad_short": mel.whisper_log_mel(short),
        "whisper128_pad479_short": mel.whisper_log_mel(short, right_padding=TAIL_PADDING),
        "mel_22050": mel.prompt_mel(wave22[None], mel.PROMPT_22050),
        "mel_24000": mel.prompt_mel(wave24[None], mel.PROMPT_24000),
    }
    for codes in (20, 25, 30):
        fitted = mel.fit_frames(mel.prompt_mel(wave24[None], mel.PROMPT_24000), 2 * codes)
        got[f"mel_24000_fit_{codes}codes"] = fitted.transpose(1, 2)
    for name, tensor in got.items():
        check("mel_frontends", name, tensor, case[f"out.{name}"])


def test_batched_mels_equal_single_ones(golden):
    wave = load_file(golden / "mel_frontends.safetensors")["in.wav24000"]
    pair = torch.stack([wave, wave * 0.1])
    for front_end in (mel.whisper_log_mel, lambda w: mel.prompt_mel(w, mel.PROMPT_24000)):
        torch.testing.assert_close(front_end(pair)[1], front_end(pair[1]))


def test_80_bins_differ_from_128_only_in_the_filters():
    log_mel = mel.whisper_log_mel(torch.sin(torch.arange(16000) * 0.3), mel.WHISPER_80)
    assert log_mel.shape == (80, 100)
    peak_hz = 0.3 * 16000 / (2 * np.pi)
    bank = mel.mel_filterbank(mel.WHISPER_80)
    assert log_mel.mean(dim=1).argmax() == bank[:, round(peak_hz / 40)].argmax()


def test_mel_config_refuses_unknown_keys():
    with pytest.raises(ValidationError):
        mel.MelConfig(sample_rate=16000, n_fft=400, hop_length=160, n_mels=80, fmax=8000, power=2)


RATES = "44100>16000 48000>16000 24000>16000 22050>16000 16000>24000 44100>22050 44100>24000 8000>16000"


@pytest.mark.parametrize("rates", RATES.split())
def test_resample_equals_the_reference(golden, rates):
    source, target = map(int, rates.split(">"))
    case = load_file(golden / "resample.safetensors")
    got = resample(case[f"in.wav{source}_to_{target}"], source, target)
    check("resample", f"{source} -> {target}", got, case[f"out.res{source}_to_{target}"])


@settings(max_examples=30, deadline=None)
@given(
    samples=st.integers(0, 3000),
    rates=st.tuples(*[st.sampled_from([8000, 16000, 22050, 24000, 44100, 48000])] * 2),
)
def test_resample_length_is_the_ceiling(samples, rates):
    wave = torch.zeros(2, samples)
    assert resample(wave, *rates).shape == (2, -(-samples * rates[1] // rates[0]))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), rate=st.sampled_from([8000, 16000, 22050, 44100, 48000]))
def test_resampling_by_chunks_equals_the_whole(data, rate):
    wave = torch.randn(data.draw(st.integers(0, 4000)), generator=torch.Generator().manual_seed(0))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wave)), max_size=6)))
    resampler = Resampler(rate, 16000)
    state = resampler.start()
    chunks = [resampler.push(state, piece) for piece in wave.tensor_split(cuts)]
    whole = resample(wave, rate, 16000)
    torch.testing.assert_close(torch.cat([*chunks, resampler.finish(state)]), whole, atol=1e-6, rtol=1e-5)


def test_resample_refuses_impossible_rates():
    with pytest.raises(ValueError, match="positive"):
        resample(torch.zeros(10), 0, 16000)
    with pytest.raises(ValueError, match="too large a filter"):
        resample(torch.zeros(10), 44101, 16000)


def test_kaldi_fbank_equals_the_reference(golden):
    case = load_file(golden / "kaldi_fbank.safetensors")
    speaker = fbank.kaldi_fbank(case["in.wav"], fbank.SPEAKER_FBANK)
    check("kaldi_fbank", "fbank", speaker, case["out.fbank"])
    normalised = speaker - speaker.mean(dim=0)
    check("kaldi_fbank", "fbank_mean_normalised", normalised, case["out.fbank_mean_normalised"])
    paraformer = fbank.kaldi_fbank(case["in.wav"], fbank.PARAFORMER_FBANK)
    check("kaldi_fbank", "paraformer_fbank", paraformer, case["out.paraformer_fbank"])


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2)])
def test_fbank_makes_whole_frames_only(samples, frames):
    assert fbank.kaldi_fbank(torch.ones(samples), fbank.SPEAKER_FBANK).shape == (frames, 80)


def test_dither_is_off_by_default_and_seeded_when_on(golden):
    wave = load_file(golden / "kaldi_fbank.safetensors")["in.wav"]
    dithered = fbank.PARAFORMER_FBANK.model_copy(update={"dither": 1.0})

    def run(seed):
        return fbank.kaldi_fbank(wave, dithered, torch.Generator().manual_seed(seed))

    torch.testing.assert_close(run(0), run(0), rtol=0, atol=0)
    assert not torch.equal(run(0), run(1))


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_normalise_and_trim_equal_the_reference(golden, name):
    case = load_file(golden / "sa1_norm_trim.safetensors")
    level = normalise.peak_normalise(case[f"in.{name}"].numpy())
    check("sa1_norm_trim", f"{name}_norm", torch.from_numpy(level), case[f"out.{name}_norm"])
    trimmed = torch.from_numpy(normalise.trim_silence(level))
    check("sa1_norm_trim", f"{name}_norm_trim", trimmed, case[f"out.{name}_norm_trim"])


@settings(max_examples=40, deadline=None)
@given(
    before=st.integers(0, 5000),
    sound=st.integers(1, 5000),
    after=st.integers(0, 5000),
    seed=st.integers(0, 9),
)
def test_trim_keeps_the_sound_and_the_official_length(before, sound, after, seed):
    noise = np.random.default_rng(seed).uniform(0.5, 1, sound).astype(np.float32)
    wave = np.concatenate([np.zeros(before, np.float32), noise, np.zeros(after, np.float32)])
    start, stop = normalise.sound_span(wave)
    assert start <= before + normalise.TRIM_FRAME // 2
    assert stop >= min(wave.size, before + sound - normalise.TRIM_FRAME // 2)
    trimmed = normalise.trim_silence(wave)
    assert (trimmed.size - int(0.27 * 16000)) % 240 == 0


def test_empty_sound_is_not_an_error():
    assert normalise.peak_normalise(np.zeros(0, np.float32)).size == 0
    assert normalise.sound_span(np.zeros(0, np.float32)) == (0, 0)
    assert not normalise.peak_normalise(np.zeros(10, np.float32)).any()
