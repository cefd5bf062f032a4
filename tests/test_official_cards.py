"""The cards of the official checkpoints: what `models show` tells, and that they are never pulled."""

import json
import shlex
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from stepaudio import hub
from stepaudio.cli.models import app
from stepaudio.errors import ModelError
from stepaudio.hub.card import Card
from stepaudio.hub.upstream import Checkpoint, Serve

OFFICIAL = ["step-audio", "step-audio-tokenizer", "step-audio-tts-3b", "step-audio-2-mini"]


@pytest.mark.parametrize("name", OFFICIAL)
def test_show(name: str) -> None:
    result = CliRunner().invoke(app, ["show", name])
    assert result.exit_code == 0, result.output
    checkpoint = hub.load_card(name).checkpoint
    assert checkpoint is not None
    assert f"hf download {checkpoint.repository}" in result.output
    assert "stepaudio models convert" in result.output
    as_json = json.loads(CliRunner().invoke(app, ["show", name, "--json"]).output)
    assert as_json["present"] is False
    assert as_json["checkpoint"]["repository"].startswith("stepfun-ai/")


@pytest.mark.parametrize("name", ["step-audio", "step-audio-2-mini"])
def test_serve_lines_are_whole_commands(name: str) -> None:
    card = hub.load_card(name)
    shown = CliRunner().invoke(app, ["show", name]).output
    assert card.serve
    for way in card.serve:
        assert way.command in shown
        assert way.machine in shown
        words = [word for word in shlex.split(way.command) if "=" not in word or word.startswith("--")]
        assert words[:3] == ["vllm", "serve", "FOLDER"]
        assert "\n" not in way.command


@pytest.mark.parametrize("name", OFFICIAL)
def test_pulling_says_how_to_get_it_instead(name: str, tmp_path: Path) -> None:
    cache = hub.Cache(tmp_path)
    assert not hub.is_present(hub.load_card(name), cache)
    for act in (hub.pull, hub.folders, hub.ensure):
        with pytest.raises(ModelError, match=r"converted and not pulled: run `hf download") as caught:
            act(name, cache=cache)
        assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_published_sizes_fit_the_whole() -> None:
    for name in OFFICIAL:
        checkpoint = hub.load_card(name).checkpoint
        assert checkpoint is not None
        assert sum(checkpoint.files.values()) <= checkpoint.bytes


def test_strictness() -> None:
    with pytest.raises(ValidationError, match=r"127\.0\.0\.1"):
        Serve(program="vLLM", command="vllm serve FOLDER", machine="one GPU")
    for bad in (
        {"repository": "no-owner"},
        {"repository": "a/b; rm"},
        {"repository": "a/b", "revision": "v1"},
    ):
        with pytest.raises(ValidationError):
            Checkpoint(bytes=1, **bad)
    pinned = Checkpoint(repository="a/b", revision="0" * 40, bytes=1)
    assert f"--revision {'0' * 40}" in pinned.commands[0]
    data = hub.load_card("step-audio-2-mini").model_dump(mode="json")
    files = hub.load_card("whisper-base").model_dump(mode="json")["files"]
    with pytest.raises(ValidationError, match="either files or a checkpoint"):
        Card.model_validate({**data, "files": files})
