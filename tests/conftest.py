"""Fixtures that every test may use."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: no example has to be done within 200 ms, nor be drawn quickly.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Ray asks for a token as soon as one lies in the home folder, and a process that has started without goes on
# without: the clusters of the tests are on loopback, and need none.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data beside the checkout; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("STEPAUDIO_SHARED", REPO.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"development data not found beside the checkout ({folder.name}/ absent)")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden vectors that ships with the tests."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def load_once() -> Callable[..., Any]:
    """`stepaudio.load` that keeps nano: reading its weights is most of what a short test takes."""
    from stepaudio.api import load

    kept: dict[tuple[Any, ...], Any] = {}

    def once(name: str = "nano", **options: Any) -> Any:
        if not name.startswith("nano"):
            return load(name, **options)
        key = (name, *sorted((key, value) for key, value in options.items() if value and key != "pull"))
        if key not in kept:
            kept[key] = load(name, **options)
        return kept[key]

    return once


@pytest.fixture(scope="session")
def nano(load_once: Callable[..., Any]) -> Any:
    """nano with its weights, loaded once; tests that need it skip where it was not pulled."""
    from stepaudio.errors import ModelError

    try:
        return load_once("nano", pull=False)
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], Callable[..., tuple[int, str, str]]]:
    """The command line in this process, in a given folder: arguments to exit code, stdout and stderr."""
    from stepaudio.cli.main import main

    def call(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stepaudio", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    def within(folder: Path) -> Callable[..., tuple[int, str, str]]:
        monkeypatch.chdir(folder)
        for name in ("SERVER", "SERVER_MODEL", "EARS"):
            monkeypatch.delenv(f"STEPAUDIO_{name}", raising=False)
        monkeypatch.setenv("STEPAUDIO_DEVICE", "cpu")
        return call

    return within


@pytest.fixture
def nano_cli(
    cli: Callable[[Path], Callable[..., tuple[int, str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    load_once: Callable[..., Any],
) -> Callable[[Path], Callable[..., tuple[int, str, str]]]:
    """The same with the real nano, whose weights are read once for all tests."""
    monkeypatch.setattr("stepaudio.api.load", load_once)
    return cli
