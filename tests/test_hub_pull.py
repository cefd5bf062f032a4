"""Pulling models: verification, resuming, conversion, concurrency, all with `file:` sources."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepaudio.errors import ModelError
from stepaudio.hub import Cache, Card, ensure, folder, folders, is_present, load_card, pull, remove
from stepaudio.hub import convert as converters

A, B = b"alpha" * 1000, b"beta" * 500


class Recorder:
    """A Progress that remembers what it was told."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.total: int | None = None
        self.seen: list[int] = []
        self.finished = False
        self.interrupt_at = interrupt_at

    def start(self, title: str, total: int) -> None:
        assert self.total is None, "started twice"
        self.total = total

    def update(self, done: int, note: str) -> None:
        self.seen.append(done)
        if self.interrupt_at is not None and done >= self.interrupt_at:
            raise KeyboardInterrupt

    def finish(self) -> None:
        self.finished = True


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(path: str, data: bytes, **more: Any) -> dict[str, Any]:
    origin = {} if "parts" in more else {"sources": [f"file:src/{path}"]}
    return {"path": path, "size": len(data), "sha256": sha(data), **origin, **more}


def part(path: str, data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": sha(data), "sources": [f"file:src/{path}"]}


def make(tmp_path: Path, files: list[dict[str, Any]], present: dict[str, bytes], **more: Any) -> Card:
    """A card in ``card/`` whose files lie in ``card/src/``."""
    base = tmp_path / "card"
    for name, data in present.items():
        path = base / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    base.mkdir(exist_ok=True)
    texts = dict.fromkeys(("title", "family", "licence", "attribution", "description"), "toy")
    (base / "card.yaml").write_text(yaml.safe_dump({"name": "toy", **texts, "files": files, **more}))
    return load_card(base)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_a_pull_puts_verified_files_in_place_and_the_next_is_silent(tmp_path: Path, cache: Cache) -> None:
    card = make(tmp_path, [entry("a.bin", A), entry("sub/b.bin", B)], {"a.bin": A, "sub/b.bin": B})
    assert not is_present(card, cache)
    first, second = Recorder(), Recorder()
    place = pull(card, first, cache=cache)["toy"]
    assert (place / "a.bin").read_bytes() == A
    assert (place / "sub" / "b.bin").read_bytes() == B
    assert first.total == len(A) + len(B) == first.seen[-1]
    assert first.seen == sorted(first.seen)
    assert first.finished
    assert is_present(card, cache)
    assert folder(card, cache) == place == cache.model(card.key)
    assert not cache.work(card.key).exists()
    (tmp_path / "card" / "src" / "a.bin").unlink()  # nothing is asked again, not even whether it is there
    assert pull(card, second, cache=cache) == {"toy": place}
    assert second.total is None
    assert second.seen == []


def test_a_model_that_is_not_here_says_what_to_type(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(
        ModelError, match=r"model whisper-tiny\.en is not here: run `stepaudio models pull whisper"
    ):
        folder("whisper-tiny.en", cache)
    with pytest.raises(ModelError, match=r"is not here: run `stepaudio models pull .*card\.yaml`"):
        folder(make(tmp_path, [entry("a.bin", A)], {"a.bin": A}), cache)
    assert not cache.root.exists()


def test_a_set_of_models_has_no_folder_of_its_own(cache: Cache) -> None:
    with pytest.raises(ModelError, match=r"stands for whisper-tiny\.en"):
        folder("nano", cache)
    with pytest.raises(ModelError, match="model nano is not here"):
        folders("nano", cache)
    with pytest.raises(ModelError, match="model nano is not here"):
        ensure("nano", pull=False, cache=cache)


def test_sources_are_tried_in_order(tmp_path: Path, cache: Cache) -> None:
    sources = ["file:src/absent", "file:src/wrong", "file:src/a.bin"]
    present = {"wrong": bytes(len(A)), "a.bin": A}
    card = make(tmp_path, [entry("a.bin", A, sources=sources)], present)
    assert (pull(card, cache=cache)["toy"] / "a.bin").read_bytes() == A


def test_when_no_source_works_one_line_names_each_reason(tmp_path: Path, cache: Cache) -> None:
    sources = ["file:src/absent", "file:src/wrong", "file:src/short", "file:src/long"]
    present = {"wrong": bytes(len(A)), "short": A[:-1], "long": A + b"x"}
    card = make(tmp_path, [entry("a.bin", A, sources=sources)], present)
    recorder = Recorder()
    with pytest.raises(ModelError) as caught:
        pull(card, recorder, cache=cache)
    message = str(caught.value)
    assert message.startswith(
        "toy: cannot get a.bin: file:src/absent: no such file; file:src/wrong: its contents"
    )
    assert "5000 bytes expected, 4999 found" in message
    assert "5000 bytes expected, more found" in message
    assert "\n" not in message
    assert not recorder.finished
    assert not is_present(card, cache)
    assert not (cache.model(card.key) / "a.bin").exists()


def test_a_source_never_writes_more_than_announced(tmp_path: Path, cache: Cache) -> None:
    card = make(tmp_path, [entry("a.bin", A)], {})
    (tmp_path / "card" / "src").mkdir()
    with (tmp_path / "card" / "src" / "a.bin").open("wb") as stream:
        stream.truncate(1 << 40)  # a sparse terabyte
    with pytest.raises(ModelError, match="more found"):
        pull(card, cache=cache)


def test_parts_are_put_together_and_resumed_one_by_one(tmp_path: Path, cache: Cache) -> None:
    whole = entry("m.bin", A + B, parts=[part("1", A), part("2", B)])
    card = make(tmp_path, [whole], {"1": A})
    with pytest.raises(ModelError, match=r"cannot get m\.bin \(part 2 of 2\): file:src/2: no such file"):
        pull(card, cache=cache)
    source = tmp_path / "card" / "src"
    (source / "1").unlink()
    (source / "2").write_bytes(B)
    recorder = Recorder()
    assert (pull(card, recorder, cache=cache)["toy"] / "m.bin").read_bytes() == A + B
    assert recorder.total == len(B)


def test_parts_in_the_wrong_order_are_not_the_file(tmp_path: Path, cache: Cache) -> None:
    whole = entry("m.bin", A + B, parts=[part("2", B), part("1", A)])
    card = make(tmp_path, [whole], {"1": A, "2": B})
    with pytest.raises(ModelError, match="put together"):
        pull(card, cache=cache)
    assert not (cache.model(card.key) / "m.bin").exists()


def test_the_same_part_twice(tmp_path: Path, cache: Cache) -> None:
    card = make(tmp_path, [entry("m.bin", A + A, parts=[part("1", A), part("1", A)])], {"1": A})
    assert (pull(card, cache=cache)["toy"] / "m.bin").read_bytes() == A + A


def test_an_interrupted_pull_goes_on_where_it_was(tmp_path: Path, cache: Cache) -> None:
    files = [entry("a.bin", A), entry("b.bin", B)]
    card = make(tmp_path, files, {"a.bin": A, "b.bin": B})
    with pytest.raises(KeyboardInterrupt):
        pull(card, Recorder(interrupt_at=len(A) + 1), cache=cache)
    assert not is_present(card, cache)
    recorder = Recorder()
    pull(card, recorder, cache=cache)
    assert recorder.total == len(B)
    leftovers = [path.name for path in cache.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert sorted(leftovers) == [".stamp.json", "a.bin", "b.bin"]


def test_a_touched_file_is_checked_again_and_mended(tmp_path: Path, cache: Cache) -> None:
    card = make(tmp_path, [entry("a.bin", A), entry("b.bin", B)], {"a.bin": A, "b.bin": B})
    place = pull(card, cache=cache)["toy"]
    (place / "a.bin").write_bytes(A[:-1])
    os.utime(place / "b.bin", (1, 1))  # as after a copy: other time, same contents
    assert not is_present(card, cache)
    with pytest.raises(ModelError, match="is not here"):
        folder(card, cache)
    recorder = Recorder()
    pull(card, recorder, cache=cache)
    assert recorder.total == len(A)
    assert (place / "a.bin").read_bytes() == A


def test_a_lost_stamp_costs_a_check_and_no_download(tmp_path: Path, cache: Cache) -> None:
    card = make(tmp_path, [entry("a.bin", A)], {"a.bin": A})
    stamp = pull(card, cache=cache)["toy"] / ".stamp.json"
    (tmp_path / "card" / "src" / "a.bin").unlink()
    for damage in ("", "[]", '{"files": {"a.bin": {"size": "x"}}}'):
        stamp.write_text(damage)
        pull(card, cache=cache)
        assert is_present(card, cache)


def test_verify_finds_what_the_stamp_cannot_see(tmp_path: Path, cache: Cache) -> None:
    card = make(tmp_path, [entry("a.bin", A)], {"a.bin": A})
    path = pull(card, cache=cache)["toy"] / "a.bin"
    stat = path.stat()
    path.write_bytes(b"X" + A[1:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    pull(card, cache=cache)
    assert path.read_bytes() != A
    pull(card, verify=True, cache=cache)
    assert path.read_bytes() == A


def shipped(monkeypatch: pytest.MonkeyPatch, card: Card) -> Card:
    """The same card as if it came with the package: it keeps its place in the cache when it changes."""
    assert card.location is not None
    (card.location / "card.yaml").replace(card.location / "toy.yaml")
    monkeypatch.setattr("stepaudio.hub.card.CARDS", card.location)
    return load_card("toy")


def test_files_of_an_older_card_are_cleared_away(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = [entry("old.bin", A), entry("b.bin", B)], [entry("b.bin", B), entry("new.bin", A)]
    pull(shipped(monkeypatch, make(tmp_path, old, {"old.bin": A, "b.bin": B})), cache=cache)
    card = shipped(monkeypatch, make(tmp_path, new, {"new.bin": A}))
    assert not is_present(card, cache)
    recorder = Recorder()
    place = pull(card, recorder, cache=cache)["toy"]
    assert recorder.total == len(A)
    assert sorted(path.name for path in place.iterdir()) == [".stamp.json", "b.bin", "new.bin"]


def test_remove(tmp_path: Path, cache: Cache) -> None:
    card = make(tmp_path, [entry("a.bin", A)], {"a.bin": A})
    assert not remove(card, cache)
    place = pull(card, cache=cache)["toy"]
    assert remove(card, cache)
    assert not place.exists()
    assert not is_present(card, cache)


def test_a_folder_that_holds_its_files_is_used_where_it_is(tmp_path: Path, cache: Cache) -> None:
    base = tmp_path / "card"
    card = make(tmp_path, [entry("a.bin", A, sources=["file:a.bin"])], {})
    (base / "a.bin").write_bytes(A)
    assert folder(base, cache) == base
    assert pull(base, verify=True, cache=cache) == {"toy": base}
    assert not cache.model(card.key).exists()
    (base / "a.bin").write_bytes(bytes(len(A)))
    with pytest.raises(ModelError, match=r"a\.bin is not what its card describes"):
        pull(base, verify=True, cache=cache)
    (base / "a.bin").write_bytes(A[:-1])
    with pytest.raises(ModelError, match="is not here"):
        folder(base, cache)


def upper(inputs: dict[str, Path], out: Path) -> None:
    (out / "sub").mkdir()
    (out / "sub" / "big.bin").write_bytes(inputs["a.raw"].read_bytes().upper())


def twice(inputs: dict[str, Path], out: Path) -> None:
    (out / "sub").mkdir()
    (out / "sub" / "big.bin").write_bytes(inputs["a.raw"].read_bytes().upper() * 2)


RECIPE = {"converter": "stepaudio.hub.convert:toy", "inputs": ["a.raw"], "outputs": ["sub/big.bin"]}


def test_derived_files_are_made_once_and_the_raw_one_does_not_stay(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converters, "toy", upper, raising=False)
    files = [entry("a.raw", A, keep=False), entry("b.bin", B)]
    card = make(tmp_path, files, {"a.raw": A, "b.bin": B}, derived=[RECIPE])
    place = pull(card, cache=cache)["toy"]
    assert (place / "sub" / "big.bin").read_bytes() == A.upper()
    assert not list(cache.root.rglob("a.raw"))
    monkeypatch.delattr(converters, "toy")
    assert is_present(card, cache)
    pull(card, verify=True, cache=cache)  # its contents are as they were made: no second conversion


def test_a_new_version_of_a_recipe_makes_the_files_anew(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [entry("a.raw", A, keep=False)]
    monkeypatch.setattr(converters, "toy", upper, raising=False)
    pull(shipped(monkeypatch, make(tmp_path, files, {"a.raw": A}, derived=[RECIPE])), cache=cache)
    card = shipped(monkeypatch, make(tmp_path, files, {}, derived=[{**RECIPE, "version": 2}]))
    assert not is_present(card, cache)
    monkeypatch.setattr(converters, "toy", twice, raising=False)
    assert (pull(card, cache=cache)["toy"] / "sub" / "big.bin").read_bytes() == A.upper() * 2
    assert is_present(card, cache)


def test_a_damaged_derived_file_is_made_again(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converters, "toy", upper, raising=False)
    card = make(tmp_path, [entry("a.raw", A)], {"a.raw": A}, derived=[RECIPE])
    made = pull(card, cache=cache)["toy"] / "sub" / "big.bin"
    made.write_bytes(b"")
    assert not is_present(card, cache)
    recorder = Recorder()
    pull(card, recorder, cache=cache)  # the kept raw file is still right: nothing to fetch
    assert made.read_bytes() == A.upper()
    assert recorder.total is None


def fail(inputs: dict[str, Path], out: Path) -> None:
    raise ModelError("not of this form")


@pytest.mark.parametrize(
    ("converter", "reason"),
    [
        (None, "no such converter"),
        (fail, "not of this form"),
        (lambda inputs, out: None, "did not write sub/big.bin"),
    ],
)
def test_a_conversion_that_fails_keeps_what_was_fetched(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, converter: Any, reason: str
) -> None:
    card = make(tmp_path, [entry("a.raw", A, keep=False)], {"a.raw": A}, derived=[RECIPE])
    if converter:
        monkeypatch.setattr(converters, "toy", converter, raising=False)
    with pytest.raises(ModelError, match=rf"^toy: stepaudio\.hub\.convert:toy.*{reason}"):
        pull(card, cache=cache)
    (tmp_path / "card" / "src" / "a.raw").unlink()
    monkeypatch.setattr(converters, "toy", upper, raising=False)
    assert (pull(card, cache=cache)["toy"] / "sub" / "big.bin").exists()


CHILD = """
import sys
from pathlib import Path
from stepaudio.hub import Cache, pull
class Tell:
    def start(self, title, total): print("fetched")
    def update(self, done, note): pass
    def finish(self): pass
pull(sys.argv[1], Tell(), cache=Cache(Path(sys.argv[2])))
"""


def test_of_two_pulls_at_once_one_fetches_and_both_succeed(tmp_path: Path, cache: Cache) -> None:
    data = {f"{number}.bin": bytes([number]) * 300_000 for number in range(20)}
    card = make(tmp_path, [entry(name, value) for name, value in data.items()], data)
    command = [sys.executable, "-c", CHILD, str(tmp_path / "card"), str(cache.root)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [child.communicate(timeout=600)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sorted(outputs) == ["", "", "fetched\n"]
    assert is_present(card, cache)


def test_a_cache_that_cannot_be_written_gets_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    card = make(tmp_path, [entry("a.bin", A)], {"a.bin": A})
    with pytest.raises(ModelError, match="cannot use the cache"):
        pull(card, cache=Cache(tmp_path / "taken"))


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"STEPAUDIO_HOME": "/x/y", "XDG_CACHE_HOME": "/c", "HOME": "/h"}, "linux", "/x/y"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "linux", "/c/stepaudio"),
        ({"XDG_CACHE_HOME": "not/absolute", "HOME": "/h"}, "linux", "/h/.cache/stepaudio"),
        ({"HOME": "/h"}, "linux", "/h/.cache/stepaudio"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Caches/stepaudio"),
        ({"HOME": "/h", "LOCALAPPDATA": "/l"}, "win32", "/l/stepaudio/cache"),
    ],
)
def test_where_the_cache_is(environ: dict[str, str], platform: str, expected: str) -> None:
    assert Cache.default(environ, platform).root == Path(expected)


def test_the_speaker_encoder_is_converted_without_running_its_pickle(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    state = {"similarity_weight": torch.ones(1), "linear.weight": torch.arange(6.0).reshape(2, 3).T}
    torch.save({"step": 1, "model_state": state}, tmp_path / "pretrained.pt")
    converters.speaker_ge2e({"pretrained.pt": tmp_path / "pretrained.pt"}, tmp_path)
    loaded = load_file(tmp_path / "model.safetensors")
    assert list(loaded) == ["linear.weight"]
    assert torch.equal(loaded["linear.weight"], state["linear.weight"])


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("contents", [b"not a checkpoint", b"", None])
def test_a_hostile_checkpoint_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: bytes | None
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pretrained.pt"
    if contents is None:
        torch.save({"model_state": Bomb()}, path)
    else:
        path.write_bytes(contents)
    with pytest.raises(ModelError, match="not a GE2E checkpoint"):
        converters.speaker_ge2e({"pretrained.pt": path}, tmp_path)
    assert not (tmp_path / "exploded").exists()
