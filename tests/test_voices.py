from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepaudio.errors import InputError
from stepaudio.voices import Voice, VoiceInfo, find_voice, list_voices, mix, parse_mix, shipped_folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEPAUDIO_HOME", str(tmp_path))
    return tmp_path / "voices"


def make(name: str, value: float, family: str = "kokoro") -> Voice:
    info = VoiceInfo(name, family, "style-table", "en-us", "female", "CC0-1.0")
    return Voice(info, {"style": np.full((510, 256), value, np.float16)})


def test_shipped_voices_are_listed_complete_and_small() -> None:
    voices = list_voices("kokoro")
    assert [voice.name for voice in voices] == [voice.name for voice in list_voices("nano")]
    assert [voice.name for voice in voices] == ["ada", "amy", "ben", "eve", "ivy", "leo", "max", "tom"]
    for info in voices:
        assert info.licence == "Apache-2.0"
        assert info.language in ("en-us", "en-gb")
        voice, own = find_voice(info.name, "kokoro"), find_voice(info.name, "nano")
        assert voice.info == info
        assert own.tensors["prompt_frames"].shape[1] == 45
        assert voice.tensors["style"].shape == (510, 256)
        assert info.source.split()[2] in (shipped_folder() / "NOTICE").read_text()
    assert sum(path.stat().st_size for path in shipped_folder().rglob("*") if path.is_file()) <= 2.5e6


def test_a_saved_voice_loads_the_same(tmp_path: Path) -> None:
    voice = make("me", 0.25)
    again = Voice.load(voice.save(tmp_path / "me.safetensors"))
    assert again.info == voice.info
    assert again.tensors["style"].dtype == np.float16
    np.testing.assert_array_equal(again.tensors["style"], voice.tensors["style"])
    assert find_voice(str(tmp_path / "me.safetensors")).info == voice.info


def test_a_user_voice_is_found_and_hides_a_shipped_one(home: Path) -> None:
    home.mkdir()
    make("ada", 0.5).save(home / "ada.safetensors")
    make("other", 0.5, family="elsewhere").save(home / "other.safetensors")
    (home / "broken.safetensors").write_bytes(b"not a voice")
    assert find_voice("ada").info.licence == "CC0-1.0"
    assert "other" in [voice.name for voice in list_voices()]
    assert "other" not in [voice.name for voice in list_voices("kokoro")]
    with pytest.raises(InputError, match="other is for elsewhere, not for kokoro"):
        find_voice("other", "kokoro")
    with pytest.raises(InputError, match=r"broken.*not a readable voice file"):
        find_voice("broken")


def test_a_mix_is_the_weighted_mean() -> None:
    ada, ben = (find_voice(name).tensors["style"].astype(np.float32) for name in ("ada", "ben"))
    for voice in (mix({"ada": 3, "ben": 2}), find_voice(" ada*0.6 + ben*0.4 ")):
        np.testing.assert_allclose(voice.tensors["style"], 0.6 * ada + 0.4 * ben, atol=1e-6)
        assert voice.name == "ada*0.6+ben*0.4"
        assert voice.info.gender == "mixed"
        assert voice.info.licence == "Apache-2.0"


@given(st.dictionaries(st.sampled_from(["ada", "ben", "eve"]), st.floats(0.01, 10), min_size=1))
def test_a_mix_stays_between_its_voices(weights: dict[str, float]) -> None:
    tensors = np.stack([find_voice(name).tensors["style"].astype(np.float32) for name in weights])
    mixed = mix(weights).tensors["style"]
    assert (mixed >= tensors.min(0) - 1e-5).all()
    assert (mixed <= tensors.max(0) + 1e-5).all()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody", "unknown voice 'nobody'; there are: ada, amy"),
        ("", "unknown voice"),
        ("../ada", "unknown voice"),
        ("ada*x", "'x' is not a number"),
        ("ada*-1+ben", "positive"),
        ("ada*nan", "positive"),
        ("ada+ada", "comes twice"),
        ("ada+", "missing"),
        ("ada+nobody", "unknown voice 'nobody'"),
        ("gone.safetensors", "no such voice file"),
    ],
)
def test_a_bad_voice_says_why(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        find_voice(name)


def test_voices_of_different_families_do_not_mix() -> None:
    with pytest.raises(InputError, match="different kinds"):
        mix({make("a", 0): 1, make("b", 0, family="elsewhere"): 1})


def test_other_safetensors_are_not_voices(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    save_file({"style": np.zeros(3, np.float32)}, path)
    with pytest.raises(InputError, match="not a voice"):
        Voice.load(path)
    make("x", np.nan).save(path)
    with pytest.raises(InputError, match="finite"):
        Voice.load(path)


@given(st.text(max_size=20))
def test_any_name_is_a_mix_or_one_clear_error(text: str) -> None:
    try:
        assert parse_mix(text)
    except InputError as error:
        assert str(error)  # noqa: PT017
