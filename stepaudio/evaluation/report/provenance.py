"""What a reader must know to repeat a run: versions and machine."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "stepaudio",
    "torch",
    "numpy",
    "onnxruntime",
    "faster-whisper",
    "ctranslate2",
    "jiwer",
    "whisper-normalizer",
    "ray",
)


def provenance() -> dict[str, Any]:
    """Return the versions of the packages that bear on a score, and the machine."""
    from stepaudio.bench.result import machine

    return {"python": platform.python_version(), "packages": _versions(), "machine": machine()}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
