"""The clip itself: validation, conversion, resampling, joining, writing."""

import io
import wave

import numpy as np
import pytest
import soundfile
from audio_files import tone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stepaudio.audio import Audio, Limits, concat
from stepaudio.errors import AudioError


@pytest.mark.parametrize(
    ("samples", "rate", "reason"),
    [
        (np.zeros(4), 16_000, "float32"),
        (np.zeros((4, 2), np.float32), 16_000, "one-dimensional"),
        ([0.0, 0.1], 16_000, "float32"),
        (np.array([0, np.nan], np.float32), 16_000, "1 of 2 samples are not finite"),
        (np.array([0, -np.inf], np.float32), 16_000, "not finite"),
        (np.array([0, 1e30], np.float32), 16_000, "not sound"),
        (np.zeros(4, np.float32), 0, "outside"),
        (np.zeros(4, np.float32), 10**9, "outside"),
        (np.zeros(4, np.float32), 16_000.0, "whole number"),
        (np.zeros(4, np.float32), True, "whole number"),
    ],
)
def test_a_clip_checks_what_it_is_made_of(samples, rate, reason):
    with pytest.raises(AudioError, match=reason):
        Audio(samples, rate)


def test_a_clip_knows_its_length_and_level():
    clip = Audio(np.full(8_000, -0.5, np.float32), np.int64(16_000))
    assert clip.seconds == 0.5
    assert clip.peak == 0.5
    assert clip.rms_db == pytest.approx(-6.0206, abs=1e-3)
    assert repr(clip) == "Audio(0.50 s, 16000 Hz)"
    silence = Audio(np.zeros(0, np.float32), 16_000)
    assert (silence.peak, silence.rms_db, silence.seconds) == (0.0, -np.inf, 0.0)


@pytest.mark.parametrize("field", ["max_encoded_bytes", "max_seconds", "max_decoded_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "10", True])
def test_limits_are_positive_numbers(field, value):
    with pytest.raises(ValueError, match=field):
        Limits(**{field: value})


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32"])
def test_integers_are_full_scale(dtype):
    info = np.iinfo(dtype)
    middle = 0 if info.min else 2 ** (info.bits - 1)
    clip = Audio.from_array(np.array([info.min, middle, middle + (info.max - middle + 1) // 2], dtype), 8_000)
    assert clip.samples.tolist() == [-1.0, 0.0, 0.5]
    assert clip.samples.dtype == np.float32


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8"])
def test_floats_are_taken_as_they_are(dtype):
    assert Audio.from_array(np.array([0.5, -0.25, 1.5], dtype), 8_000).samples.tolist() == [0.5, -0.25, 1.5]


@pytest.mark.parametrize(
    "array", [np.zeros(3, np.int64), np.zeros(3, bool), np.zeros(3, complex), ["a"], [None]]
)
def test_numbers_without_a_full_scale_are_refused(array):
    with pytest.raises(AudioError, match="full scale"):
        Audio.from_array(array, 8_000)


def test_the_shorter_axis_is_the_channels():
    stereo = np.stack([np.full(10, 0.2), np.full(10, 0.4)], axis=1)
    for array in (stereo, stereo.T):
        assert Audio.from_array(array, 8_000).samples == pytest.approx(np.full(10, 0.3))
        assert Audio.from_array(array, 8_000, mix="first").samples == pytest.approx(np.full(10, 0.2))
    for shape in ((), (2, 2, 2)):
        with pytest.raises(AudioError, match="shape"):
            Audio.from_array(np.zeros(shape), 8_000)


def test_from_array_does_not_share_memory():
    array = np.zeros(10, np.float32)
    clip = Audio.from_array(array, 8_000)
    array[0] = 1
    assert clip.samples[0] == 0


def test_resampling_keeps_the_sound():
    clip = Audio(tone(1.0, 48_000), 48_000)
    down = clip.resample(16_000)
    assert (down.sample_rate, down.samples.size) == (16_000, 16_000)
    inner = slice(1_000, -1_000)
    assert np.abs(down.samples - tone(1.0, 16_000))[inner].max() < 1e-3
    assert clip.resample(48_000) is clip
    with pytest.raises(AudioError, match="outside"):
        clip.resample(0)


def test_concat_joins_clips_of_one_rate():
    one, two = Audio(tone(0.1), 16_000), Audio(tone(0.2), 16_000)
    both = concat([one, two])
    assert both.seconds == pytest.approx(0.3)
    assert np.array_equal(both.samples, np.concatenate([one.samples, two.samples]))
    with pytest.raises(AudioError, match=r"8000, 16000"):
        concat([one, Audio(tone(0.1, 8_000), 8_000)])
    with pytest.raises(AudioError, match="no clips"):
        concat([])


@settings(max_examples=50, deadline=None)
@given(arrays(np.int16, st.integers(1, 500)), st.sampled_from([".wav", ".flac"]))
def test_sixteen_bits_survive_writing_and_reading(tmp_path_factory, values, suffix):
    path = tmp_path_factory.mktemp("round") / f"a{suffix}"
    clip = Audio.from_array(values, 16_000)
    assert np.array_equal(Audio.read(clip.save(path)).samples, clip.samples)


def test_wav_bytes_are_a_wav_file():
    clip = Audio(np.array([0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0], np.float32), 22_050)
    with wave.open(io.BytesIO(clip.to_wav_bytes())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22_050, 1, 2)
        values = np.frombuffer(file.readframes(100), "<i2")
    assert values.tolist() == [0, 16384, -16384, 32767, -32768, 32767, -32768]


@pytest.mark.parametrize(
    ("suffix", "rate", "kind", "stored_rate"),
    [
        (".wav", 11_025, ("WAV", "PCM_16"), 11_025),
        (".WAV", 16_000, ("WAV", "PCM_16"), 16_000),
        (".flac", 44_100, ("FLAC", "PCM_16"), 44_100),
        (".ogg", 16_000, ("OGG", "OPUS"), 16_000),
        (".opus", 22_050, ("OGG", "OPUS"), 24_000),
        (".opus", 96_000, ("OGG", "OPUS"), 48_000),
        (".mp3", 24_000, ("MP3", "MPEG_LAYER_III"), 24_000),
    ],
)
def test_save_chooses_the_format_by_suffix(tmp_path, suffix, rate, kind, stored_rate):
    path = tmp_path / f"a{suffix}"
    assert Audio(tone(3.0, rate), rate).save(str(path)) == path
    info = soundfile.info(str(path))
    assert (info.format, info.subtype) == kind
    back = Audio.read(path)
    assert back.sample_rate == stored_rate
    assert back.seconds == pytest.approx(3.0, abs=0.06)
    assert back.rms_db == pytest.approx(Audio(tone(3.0), 16_000).rms_db, abs=0.5)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_failed_save_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    clip = Audio(tone(0.1), 16_000)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stepaudio.audio.writing._write_wav", full)
    with pytest.raises(AudioError, match=r"a\.wav: cannot be written .no space left"):
        clip.save(path)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.wav"]


def test_save_says_what_is_wrong(tmp_path):
    clip = Audio(tone(0.1), 16_000)
    with pytest.raises(AudioError, match=r"a\.txt: cannot write \.txt; use \.wav"):
        clip.save(tmp_path / "a.txt")
    with pytest.raises(AudioError, match="without suffix"):
        clip.save(tmp_path / "a")
    with pytest.raises(AudioError, match="no such file"):
        clip.save(tmp_path / "missing" / "a.wav")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match="is a directory"):
        clip.save(tmp_path / "folder.wav")
    with pytest.raises(AudioError, match="0 samples"):
        Audio(np.zeros(0, np.float32), 16_000).save(tmp_path / "a.wav")
