"""Model cards: what they may say, and that the shipped ones are right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stepaudio.errors import ModelError
from stepaudio.hub import list_cards, load_card
from stepaudio.hub.card import CARDS
from stepaudio.hub.source import parse_source

SHA = "0" * 64


def card_data(**changes: Any) -> dict[str, Any]:
    data = {
        "name": "toy",
        "title": "Toy",
        "family": "toy",
        "licence": "MIT",
        "attribution": "nobody",
        "description": "a toy",
        "files": [{"path": "a.bin", "size": 3, "sha256": SHA, "sources": ["file:a.bin"]}],
    }
    return {**data, **changes}


def write_card(folder: Path, data: Any, name: str = "card.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_shipped_cards_are_valid_and_named_after_their_files() -> None:
    cards = list_cards()
    assert [card.name for card in cards] == [path.stem for path in sorted(CARDS.glob("*.yaml"))]
    assert {"nano", "whisper-tiny.en", "smollm2-135m-instruct", "kokoro-82m"} <= {card.name for card in cards}
    for card in cards:
        assert card.licence
        assert card.attribution
        assert all(load_card(name) for name in card.requires)
        # What ships with the package lies in it; nothing refers to a file of somebody's own.
        inside = [CARDS / source.path for source in card.sources() if source.kind == "file"]
        assert all(CARDS.parent in path.resolve().parents and path.is_file() for path in inside)


def test_only_raw_material_of_a_conversion_may_be_a_pickle() -> None:
    for card in list_cards():
        pickles = [file for file in card.files if file.path.endswith((".pt", ".pth", ".pkl", ".ckpt"))]
        assert not any(file.keep for file in pickles)
        made = [path for recipe in card.derived for path in recipe.outputs]
        assert not any(path.endswith((".pt", ".pth", ".pkl")) for path in made)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"unknown model 'nanoo'; known: .*kokoro-82m, .*nano.*") as caught:
        load_card("nanoo")
    assert "\n" not in str(caught.value)


def test_a_card_of_ones_own_is_found_by_path_and_by_folder(tmp_path: Path) -> None:
    path = write_card(tmp_path / "mine", card_data())
    by_path, by_folder = load_card(path), load_card(str(tmp_path / "mine"))
    assert by_path == by_folder
    assert by_path.location == tmp_path / "mine"
    assert by_path.asked_as == str(path)
    with pytest.raises(ModelError, match=r"has no card\.yaml"):
        load_card(tmp_path)


def test_a_card_of_ones_own_cannot_take_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    own = load_card(write_card(tmp_path, card_data(name="nano")))
    assert own.key != load_card("nano").key == "nano"


@pytest.mark.parametrize(
    "path",
    ["../a", "/a", "a/../../b", "a/..", ".stamp.json", "a/.b", "C:/a", "a\\b", "a//b", "", "a\nb", "./a"],
)
def test_paths_must_stay_inside_the_folder(tmp_path: Path, path: str) -> None:
    data = card_data(files=[{"path": path, "size": 1, "sha256": SHA, "sources": ["file:a"]}])
    with pytest.raises(ModelError, match="does not stay inside"):
        load_card(write_card(tmp_path, data))


FILE = {"path": "a", "size": 2, "sha256": SHA}
PART = {"size": 1, "sha256": SHA, "sources": ["file:a"]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"colour": "red"}, "colour"),
        ({"name": "../x"}, "name"),
        ({"files": [], "requires": []}, "needs files or requires"),
        ({"files": [FILE]}, "either sources or parts"),
        ({"files": [{**FILE, "sources": []}]}, "sources"),
        ({"files": [{**FILE, "sources": ["ftp:x"]}]}, "none of hf:"),
        ({"files": [{**FILE, "sha256": "abc", "sources": ["file:a"]}]}, "sha256"),
        ({"files": [{**FILE, "size": 0, "sources": ["file:a"]}]}, "size"),
        ({"files": [{**FILE, "size": 3, "parts": [PART, PART]}]}, "do not add up"),
        (
            {"files": [{**FILE, "sources": ["file:a"]}, {**FILE, "path": "A", "sources": ["file:a"]}]},
            "same path",
        ),
        ({"files": [{**FILE, "sources": ["file:a"], "keep": False}]}, "nothing is derived"),
        ({"derived": [{"converter": "os:system", "inputs": ["a.bin"], "outputs": ["b"]}]}, "converter"),
        ({"derived": [{"converter": "stepaudio.x:y", "inputs": ["z"], "outputs": ["b"]}]}, "not in files: z"),
        ({"derived": [{"converter": "stepaudio.x:y", "inputs": ["a.bin"], "outputs": ["../b"]}]}, "inside"),
    ],
)
def test_a_wrong_card_gets_one_clear_line(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        load_card(write_card(tmp_path, card_data(**changes)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "{", "!!python/object/apply:os.getcwd []", "", "\x00"])
def test_a_file_that_is_no_card_gets_one_clear_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"card\.yaml: (not a|cannot read)") as caught:
        load_card(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "package", "version", "path"),
    [
        ("pypi:some-pkg==1.0.0/some_pkg/data/m.bin", "some-pkg", "1.0.0", "some_pkg/data/m.bin"),
        ("npm:kokoro-js@1.2.1/voices/a.bin", "kokoro-js", "1.2.1", "voices/a.bin"),
        ("npm:@scope/pkg@1.0.0-rc.1/a", "@scope/pkg", "1.0.0-rc.1", "a"),
        ("hf:owner/repo.x@0a1b2c/sub/model.safetensors", "owner/repo.x", "0a1b2c", "sub/model.safetensors"),
        ("file:../there/m.bin", "", "", "../there/m.bin"),
    ],
)
def test_sources_parse_and_print_as_written(text: str, package: str, version: str, path: str) -> None:
    source = parse_source(text)
    assert (source.package, source.version, source.path) == (package, version, path)
    assert str(source) == text


@pytest.mark.parametrize(
    "text",
    [
        "pypi:--index-url==1/x",
        "pypi:pkg/x",
        "pypi:pkg==/x",
        "pypi:pkg==1",
        "pypi:pkg==1/../../x",
        "pypi:pkg[extra]==1/x",
        "npm:pkg@file:../x/y",
        "npm:-g@1/x",
        "hf:repo@main/x",
        "hf:owner/repo/x",
        "http://example.org/x",
        "file:",
        "pkg",
    ],
)
def test_sources_that_are_not_plain_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="source"):
        parse_source(text)
