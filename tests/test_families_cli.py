"""Official folders through the command line: convert, then transcribe, speak, clone, tokens and chat."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import clips
import numpy as np
import official_models as official
import pytest
from fake_openai import Answer, end_chunk, serve, text_chunk

from stepaudio.audio import Audio

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(cli: Callable[[Path], Run], tmp_path: Path) -> Run:
    """The command line in a folder of its own."""
    return cli(tmp_path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("official")
    one = official.step_audio(root / "Step-Audio")
    official.add_speakers(one / "speakers", {"Tingting": "你好"})
    two = official.step_audio_2(root / "Step-Audio-2-mini")
    (two / "assets").mkdir()
    official.clip(1.0).save(two / "assets" / "default_female.wav")
    return {"step-audio": one, "step-audio-2": two}


@pytest.mark.parametrize(("family", "rate"), [("step-audio", 22050), ("step-audio-2", 24000)])
def test_from_an_official_folder_to_sound(
    run: Run,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    rate: int,
) -> None:
    from stepaudio.cloning.parts import CloningParts
    from stepaudio.decoder.ge2e import SpeakerEncoder

    monkeypatch.setattr(CloningParts, "encoder", lambda self: SpeakerEncoder().eval())
    official.clip(1.2).save(tmp_path / "q.wav")
    model = ("--model", "converted")

    code, out, err = run("models", "convert", folders[family], "-o", "converted", "--json")
    assert code == 0, err
    assert json.loads(out)["family"] == family

    code, out, err = run("transcribe", "q.wav", *model, "--json")
    assert code == 0, err
    assert json.loads(out)[0]["seconds"] == pytest.approx(1.2)

    for name in ("a.wav", "b.wav"):
        code, out, err = run("speak", "Hi there.", "-o", name, "--seed", 3, *model, "--json")
        assert code == 0, err
        assert json.loads(out)["sample_rate"] == rate
    np.testing.assert_array_equal(Audio.read("a.wav").samples, Audio.read("b.wav").samples)

    clips.speech(*clips.ADA).save(tmp_path / "me.wav")
    code, _, err = run("clone", "me.wav", "-o", "me.safetensors", *model)
    assert (code, "needs its speaker's consent" in err) == (2, True)
    made = ("clone", "me.wav", "-o", "me.safetensors", "--transcript", "hello", "--i-have-consent")
    code, out, err = run(*made, *model, "--json")
    assert code == 0, err
    assert (json.loads(out)["name"], json.loads(out)["family"]) == ("me", family)
    code, _, err = run(
        "speak", "Hi.", "-o", "c.wav", "--voice", "me.safetensors", "--no-watermark", "--seed", 3, *model
    )
    assert code == 0, err
    assert Audio.read("c.wav").seconds > 0

    code, _, err = run("tokens", "encode", "q.wav", "-o", "t.json", *model)
    assert code == 0, err
    code, out, err = run(
        "tokens",
        "decode",
        "t.json",
        "-o",
        "d.wav",
        "--voice",
        "me.safetensors",
        "--no-watermark",
        *model,
        "--json",
    )
    assert code == 0, err
    assert json.loads(out)["sample_rate"] == rate
    assert Audio.read("d.wav").seconds == pytest.approx(1.2, abs=0.1)

    code, out, err = run("chat", "q.wav", "-o", "r.wav", "--seed", 1, *model, "--json")
    assert code == 0, err
    reply = json.loads(out)
    assert {"transcribe_s", "first_text_s", "first_audio_s", "total_s"} <= set(reply["timings"])
    assert Audio.read(reply["reply_audio"]).sample_rate == rate

    code, out, err = run("chat", "q.wav", "-o", "r.wav", "--seed", 1, *model)
    assert code == 0, err
    assert out.index("Reply: ") < out.index("You:   ") < out.index("Sound: r.wav")


def test_tokens_of_step_audio_have_the_promised_fields(
    run: Run, folders: dict[str, Path], tmp_path: Path
) -> None:
    official.clip(1.2).save(tmp_path / "q.wav")
    assert run("models", "convert", folders["step-audio"] / "Step-Audio-Tokenizer", "-o", "tokens")[0] == 0
    code, out, err = run("tokens", "encode", "q.wav", "--model", "tokens")
    assert code == 2
    assert "has no speech codes" in err
    assert run("models", "convert", folders["step-audio"], "-o", "all")[0] == 0
    code, out, err = run("tokens", "encode", "q.wav", "--model", "all")
    assert code == 0, err
    codes = json.loads(out)
    assert set(codes) == {"linguistic", "semantic", "interleaved", "seconds", "rates"}
    assert codes["rates"] == [16.67, 25]


def test_in_a_process_of_its_own(run: Run, folders: dict[str, Path], tmp_path: Path) -> None:
    def call(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "stepaudio.cli.main", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=900)

    assert run("models", "convert", folders["step-audio-2"], "-o", "sa2")[0] == 0
    said = call("speak", "Hi.", "--stream", "--seed", 2, "--model", "sa2")
    assert said.returncode == 0, said.stderr
    assert len(said.stdout) > 1000
    assert len(said.stdout) % 2 == 0


def test_bad_folders_get_one_line_each(run: Run, folders: dict[str, Path], tmp_path: Path) -> None:
    code, _, err = run("models", "convert", folders["step-audio-2"], "-o", "good")
    assert code == 0, err

    def damaged(name: str) -> Path:
        shutil.copytree(tmp_path / "good", tmp_path / name)
        return tmp_path / name

    (damaged("gone") / "decoder" / "hift.safetensors").unlink()
    (damaged("cut") / "merges.txt").write_text("")
    (damaged("odd") / "card.yaml").write_text("name: [")
    (damaged("other") / "card.yaml").write_text((tmp_path / "good" / "card.yaml").read_text() + "extra: 1\n")
    (tmp_path / "empty").mkdir()
    cases = {
        "gone": "decoder/hift.safetensors is missing",
        "cut": "has 0 bytes, not the",
        "odd": "cannot read the card",
        "other": "not a valid model card",
        "empty": "has no card.yaml",
        "nowhere": "unknown model 'nowhere'",
    }
    for name, reason in cases.items():
        code, out, err = run(
            "speak", "Hi.", "-o", "x.wav", "--model", tmp_path / name if name != "nowhere" else name
        )
        assert (code, out) == (2, ""), name
        assert reason in err, err
        assert len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "x.wav").exists()


def test_what_a_model_cannot_do_is_said_in_one_line(run: Run, tmp_path: Path) -> None:
    official.clip(1.0).save(tmp_path / "q.wav")
    (tmp_path / "t.json").write_text("{")
    cases: list[tuple[list[object], str]] = [
        (["tokens", "decode", "t.json"], "t.json: not JSON"),
        (["tokens", "decode", "none.json"], "none.json: cannot be read"),
        (["clone", "q.wav", "-o", "me.wav"], "a voice is a .safetensors file"),
        (["clone", "q.wav", "-o", "no/me.safetensors"], "no such folder to write to"),
    ]
    for arguments, reason in cases:
        code, _, err = run(*arguments)
        assert code == 2
        assert reason in err
        assert len(err.strip().splitlines()) == 1, err


def test_the_chat_model_can_be_served(run: Run, folders: dict[str, Path], tmp_path: Path) -> None:
    official.clip(1.0).save(tmp_path / "q.wav")
    assert run("models", "convert", folders["step-audio"], "-o", "all")[0] == 0
    with serve(
        Answer([text_chunk("Hi."), end_chunk()]), Answer([text_chunk("a question"), end_chunk()])
    ) as server:
        code, out, err = run(
            "chat", "q.wav", "-o", "r.wav", "--model", "all", "--server", server.url, "--json"
        )
    assert code == 0, err
    assert (json.loads(out)["reply"], json.loads(out)["transcript"]) == ("Hi.", "a question")
    code, _, err = run("chat", "q.wav", "--model", "all", "--server", "not-a-url")
    assert code == 2
    assert "is not a server address" in err


def test_show_says_what_a_machine_needs_and_how_to_serve(run: Run) -> None:
    code, out, err = run("models", "show", "step-audio")
    assert code == 0, err
    assert "265 GB" in out
    assert "vllm serve" in out
    assert "--served-model-name step-audio-chat" in out
    code, out, err = run("speak", "Hi.", "--model", "step-audio")
    assert code == 2
    assert "stepaudio models convert" in err
