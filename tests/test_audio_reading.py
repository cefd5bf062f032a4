"""Reading: every container, rate, format and channel count; every kind of bad input."""

import contextlib
import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from audio_files import FFMPEG_KINDS, KINDS, LOSSLESS, SNDFILE_KINDS, encoded, tone, wav, with_soundfile

from stepaudio.audio import Audio, Limits
from stepaudio.errors import AudioError


def refusal(source, **options) -> str:
    """The one line that reading the source gives."""
    with pytest.raises(AudioError) as caught:
        Audio.read(source, **options)
    line = str(caught.value)
    assert line.isprintable()
    return line


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_is_read(kind):
    clip = Audio.read(encoded(kind))
    sound = tone(1.0, clip.sample_rate)
    assert clip.seconds == pytest.approx(1.0, abs=0.1)
    if kind in LOSSLESS:
        step = 2**-7 if kind == "wav-pcm8" else 2**-14
        assert np.abs(clip.samples - sound).max() <= step
    else:
        assert clip.rms_db == pytest.approx(Audio(sound, 16_000).rms_db, abs=2.0)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_every_rate_and_channel_count_is_read(rate, channels):
    data = encoded("wav-pcm16", 0.5, rate, channels)
    clip = Audio.read(data)
    assert clip.sample_rate == rate
    assert np.abs(clip.samples - tone(0.5, rate)).max() < 2**-14


def test_channels_are_mixed_or_chosen():
    samples = np.zeros((1_000, 4), np.float32)
    samples[:, 0] = 0.5
    data = with_soundfile(samples, 16_000, "WAV", "FLOAT")
    assert Audio.read(data).samples == pytest.approx(np.full(1_000, 0.125))
    assert Audio.read(data, mix="first").samples == pytest.approx(np.full(1_000, 0.5))
    assert "mix must be" in refusal(data, mix="loudest")


@pytest.mark.parametrize("kind", ["wav-pcm16", "m4a-aac"])
def test_resampling_while_reading_equals_resampling_after(kind):
    data = encoded(kind, 30.0, 44_100) if kind in SNDFILE_KINDS else encoded(kind, 3.0, 44_100)
    at_once = Audio.read(data, sample_rate=16_000)
    after = Audio.read(data).resample(16_000)
    assert at_once.sample_rate == 16_000
    assert abs(at_once.samples.size - after.samples.size) <= 1
    size = min(at_once.samples.size, after.samples.size)
    assert np.abs(at_once.samples[:size] - after.samples[:size]).max() < 1e-5


def test_paths_bytes_and_files_give_the_same(tmp_path):
    for kind in ("wav-pcm16", "m4a-aac"):
        data = encoded(kind)
        path = tmp_path / "a.bin"  # the name says nothing
        path.write_bytes(data)
        want = Audio.read(data).samples
        with path.open("rb") as file:
            for source in (path, str(path), bytearray(data), memoryview(data), io.BytesIO(data), file):
                assert np.array_equal(Audio.read(source).samples, want)


def test_a_file_object_is_read_from_where_it_stands():
    file = io.BytesIO(b"junk" + encoded("wav-pcm16"))
    file.seek(4)
    assert Audio.read(file).seconds == 1.0


def test_an_id3_tag_before_the_sound_is_skipped():
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 0]) + bytes(256)
    assert Audio.read(tag + encoded("mp3")).seconds == pytest.approx(1.0, abs=0.1)
    assert Audio.read(tag + encoded("flac")).seconds == 1.0


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_streamed_wav_has_no_length_and_is_whole(length):
    pcm = (tone(0.5) * 32767).astype("<i2").tobytes()
    assert Audio.read(wav(pcm, promise=length)).seconds == pytest.approx(0.5, abs=0.01)


# --- bad input ---------------------------------------------------------------------------------


def test_missing_directory_device_pipe_and_address(tmp_path):
    assert refusal(tmp_path / "no.wav") == f"{tmp_path}/no.wav: no such file"
    assert refusal(str(tmp_path)).endswith(": is a directory")
    assert "not a regular file" in refusal("/dev/zero")
    os.mkfifo(tmp_path / "pipe.wav")
    assert "not a regular file" in refusal(tmp_path / "pipe.wav")
    assert "not fetched" in refusal("http://example.com/a.wav")
    assert "null" in refusal("a\0b.wav")
    assert refusal("") == "'': no such file"
    assert refusal(tmp_path / "two\nlines.wav").endswith("two?lines.wav: no such file")
    assert "file name too long" in refusal("x" * 5000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("wav-pcm16"))
    path.chmod(0)
    assert "permission denied" in refusal(path)


@pytest.mark.parametrize("source", [None, 7, ["a.wav"], io.StringIO("text")])
def test_other_sources_are_refused(source):
    assert refusal(source).startswith("audio: ")


def test_empty_and_no_samples(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    assert refusal(path) == f"{path}: is empty (0 bytes)"
    assert refusal(b"") == "audio: is empty (0 bytes)"
    assert "0 samples" in refusal(wav(b""))
    assert "0 samples" in refusal(wav(b"\0"))


def test_not_audio(tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("Dear diary, this is not a sound.\n" * 100)
    assert refusal(path) == f"{path}: is not audio of a known kind (it looks like text)"
    assert "not audio" in refusal(np.random.default_rng(0).bytes(10_000))
    assert "begins with zeros" in refusal(bytes(10_000))
    assert "not audio" in refusal(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert "not audio" in refusal(b"x")


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{0}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{0}'\n",
        "[playlist]\nFile1={0}\nNumberOfEntries=1\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5000 RTP/AVP 0\n",
    ],
)
def test_a_playlist_never_opens_another_file(tmp_path, playlist):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(encoded("wav-pcm16"))
    for suffix in (".wav", ".m3u8", ".mp4"):
        path = tmp_path / f"list{suffix}"
        path.write_text(playlist.format(secret))
        assert "not audio" in refusal(path)


MAGICS = (
    *(b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"FORM\0\0\0\0AIFF", b".snd", b"caff", b"NIST_1A"),
    *(b"\0\0\0\x20ftyp", b"\x1a\x45\xdf\xa3", b"#!AMR\n", b"\xff\xf1", b"\xff\xfb\x90\x00"),
)


@pytest.mark.parametrize("magic", MAGICS)
def test_a_forged_first_line_is_not_enough(magic):
    assert refusal(magic + b"The rest is text. " * 50).startswith("audio: ")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path, value):
    samples = tone(0.1)
    samples[7] = value
    path = tmp_path / "bad.wav"
    path.write_bytes(wav(samples.tobytes(), bits=32, tag=3))
    assert refusal(path) == f"{path}: 1 of 1600 samples are not finite numbers (NaN or infinity)"
    stereo = np.full((100, 2), 3e38, np.float32)
    assert "not finite" in refusal(wav(stereo.tobytes(), channels=2, bits=32, tag=3))


TRUNCATABLE = [kind for kind in KINDS if kind not in ("aac-adts", "amr", "wma")]


@pytest.mark.parametrize("kind", TRUNCATABLE)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated(kind, part):
    data = encoded(kind, 3.0)
    line = refusal(data[: int(len(data) * part)])
    assert "truncated" in line or "damaged" in line


@pytest.mark.parametrize("kind", ["aac-adts", "amr", "wma"])
def test_a_stream_without_a_length_gives_what_it_holds(kind):
    """Cut between two frames it is a shorter stream; cut within one it is truncated."""
    data = encoded(kind, 2.0)
    half = len(data) // 2
    outcomes = []
    for cut in range(half, half + 64, 16):
        try:
            outcomes.append(0.5 < Audio.read(data[:cut]).seconds < 1.6)
        except AudioError as error:
            outcomes.append("truncated" in str(error))
    assert all(outcomes)


def flac_with(data: bytes, *, rate: int | None = None, frames: int | None = None) -> bytes:
    """A FLAC file with another sample rate or number of frames in its header."""
    head = int.from_bytes(data[18:26], "big")
    if rate is not None:
        head = head & ~(0xFFFFF << 44) | rate << 44
    if frames is not None:
        head = head & ~(2**36 - 1) | frames
    return data[:18] + head.to_bytes(8, "big") + data[26:]


def test_forged_headers():
    pcm = (tone(0.5) * 32767).astype("<i2").tobytes()
    assert "truncated" in refusal(wav(pcm, promise=2 * 10**9))
    assert "sample rate 1 Hz" in refusal(wav(pcm, rate=1))
    assert refusal(wav(pcm, rate=2**32 - 1)).startswith("audio: ")
    assert refusal(wav(pcm, channels=0)).startswith("audio: ")
    assert refusal(wav(pcm, channels=65_535)).startswith("audio: ")
    assert refusal(wav(pcm, bits=0)).startswith("audio: ")
    assert "longer than" in refusal(flac_with(encoded("flac"), frames=2**36 - 1))
    assert "truncated" in refusal(flac_with(encoded("flac"), frames=17_000))
    assert Audio.read(flac_with(encoded("flac"), frames=0)).seconds == 1.0


def test_two_hours():
    hours = wav(bytes(2 * 2 * 3600 * 8000), rate=8_000)
    assert refusal(hours) == "audio: longer than the limit of 30 minutes [WAV]"
    assert "limit of 10 seconds" in refusal(encoded("mp3", 20.0), limits=Limits(max_seconds=10))
    assert "limit of 10 seconds" in refusal(encoded("m4a-aac", 20.0), limits=Limits(max_seconds=10))


def test_bombs():
    silence = with_soundfile(np.zeros((600 * 48_000 // 10, 8), np.float32), 48_000, "FLAC", "PCM_16")
    assert len(silence) < 200_000
    limits = Limits(max_seconds=50, max_decoded_bytes=2**24)
    assert "limit of 50 seconds" in refusal(silence, limits=limits)
    # Neither an unknown length nor a forged rate gets round the cap on bytes.
    hidden = flac_with(silence, frames=0)
    assert "limit of 16 MiB" in refusal(hidden, limits=limits)
    assert "limit of 16 MiB" in refusal(flac_with(hidden, rate=655_350), limits=limits)
    assert "limit of 1 MiB" in refusal(encoded("mkv-pcm", 20.0), limits=Limits(max_decoded_bytes=2**20))


def test_an_encoded_file_beyond_the_cap(tmp_path):
    data = encoded("wav-pcm16", 40.0)
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    limits = Limits(max_encoded_bytes=2**20)
    for source in (data, io.BytesIO(data), path):
        assert "larger than the limit of 1 MiB" in refusal(source, limits=limits)

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    assert "larger than the limit of 1 MiB" in refusal(Endless(), limits=limits)


def test_mp4_tables_cannot_take_our_memory():
    data = bytearray(encoded("mov-alac"))
    sizes, chunks = data.find(b"stsz"), data.find(b"stsc")
    many = struct.pack(">I", 0x0F000000)
    data[sizes + 8 : sizes + 16] = struct.pack(">I", 1) + many
    data[chunks + 16 : chunks + 20] = many
    assert refusal(bytes(data)).startswith("audio: ")


GUARD_PROBE = """
import sys
from stepaudio.audio import guard, Limits
job = guard._Job("ffmpeg", "mov", 0, None, "mean", Limits(max_decoded_bytes=2**24))
guard._import_decoder("ffmpeg")
guard._lock_down(job)
for what in (lambda: open(sys.argv[1]), lambda: bytearray(2**31)):
    try:
        what()
        print("allowed")
    except (OSError, MemoryError) as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of the child are enforced by Linux")
def test_the_guarded_child_opens_nothing_and_has_little_memory():
    done = subprocess.run(
        [sys.executable, "-c", GUARD_PROBE, __file__], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["OSError", "MemoryError"]


@pytest.mark.parametrize("kind", ["mp3", *FFMPEG_KINDS])
def test_a_crashing_decoder_is_one_clear_error(kind, monkeypatch):
    monkeypatch.setattr("stepaudio.audio.guard._START", "import os; os.abort()")
    assert "its decoder stopped" in refusal(encoded(kind))


def test_a_hanging_decoder_is_stopped(monkeypatch):
    monkeypatch.setattr("stepaudio.audio.guard._START", "import time; time.sleep(60)")
    monkeypatch.setattr("stepaudio.audio.guard._BASE_SECONDS", 0.1)
    assert "its decoder stopped" in refusal(encoded("mp3"), limits=Limits(max_seconds=2))


def test_nothing_is_written_to_stderr(capfd):
    for kind in ("mp3", "m4a-aac", "ogg-opus", "flac"):
        data = bytearray(encoded(kind))
        data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
        with contextlib.suppress(AudioError):
            Audio.read(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_importing_the_package_loads_no_decoder():
    code = (
        "import sys, stepaudio.audio; print(sorted({'av', 'soundfile', 'soxr', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_recordings_of_people_are_read(shared: Path):
    files = [path for path in sorted((shared / "data" / "speech").rglob("*")) if path.suffix == ".opus"]
    assert files
    for path in files[:20]:
        assert Audio.read(path, sample_rate=16_000).peak > 0.001
