"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

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
def nano():
    """nano with its weights, loaded once; tests that need it skip where it was not pulled."""
    import stepaudio
    from stepaudio.errors import ModelError

    try:
        return stepaudio.load("nano", pull=False)
    except ModelError as error:
        pytest.skip(str(error))
