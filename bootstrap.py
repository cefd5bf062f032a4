"""Make the environment: a virtual environment in .venv with the pinned packages. Standard library only.

Usage: python3 bootstrap.py [EXTRA ...]      for example: python3 bootstrap.py demo dev
       python3 bootstrap.py --lock           write constraints.txt anew from what pip would take today

Quick and silent when pyproject.toml, constraints.txt and the extras are those of the last run.
"""

import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "stepaudio-installed.json"
OLDEST = (3, 11)
EXTRAS = ("demo", "dev", "eval", "mic", "official", "ray", "serve", "tools", "train")


def python_of(folder: Path) -> Path:
    """Return the interpreter of the virtual environment in `folder`."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint() -> str:
    """Return a hash of everything the environment is made from."""
    digest = hashlib.sha256(sys.version.encode())
    for name in ("pyproject.toml", "constraints.txt", "bootstrap.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def brings_cuda(report: dict) -> bool:
    """Tell from pip's dry-run report whether CUDA packages would be installed."""
    names = [item["metadata"]["name"].lower() for item in report["install"]]
    return any(name.startswith(("nvidia-", "cuda-")) for name in names)


def has_gpu() -> bool:
    """Tell whether this machine has an NVIDIA driver."""
    return Path("/proc/driver/nvidia/version").exists() or os.name == "nt"


def pip(*arguments: str, capture: bool = False) -> str:
    """Run pip of the environment with the constraints; stop the script with its message if it fails."""
    command = [str(python_of(VENV)), "-m", "pip", *arguments]
    if arguments[0] == "install":
        command.append("--no-compile")  # what is imported is compiled then; the rest is most of it
    command += ["-c", str(ROOT / "constraints.txt"), "--disable-pip-version-check"]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE if capture else None)
    if done.returncode:
        sys.exit(f"bootstrap: '{' '.join(arguments)}' failed (see above); nothing else was changed")
    return done.stdout or ""


def install_torch() -> None:
    """Install PyTorch; where the index would bring CUDA to a machine without a GPU, take the CPU build."""
    plan = json.loads(
        pip("install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-", "torch", capture=True)
    )
    if not brings_cuda(plan) or has_gpu():
        pip("install", "--quiet", "torch")
        return
    # uv knows where PyTorch keeps its CPU builds, so this project need not name a host.
    print("bootstrap: no GPU here: taking PyTorch's CPU build", flush=True)
    pip("install", "--quiet", "uv")
    pinned = next(
        item["metadata"]["version"] for item in plan["install"] if item["metadata"]["name"] == "torch"
    )
    command = [
        str(python_of(VENV)),
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python_of(VENV)),
    ]
    subprocess.run([*command, "--torch-backend", "cpu", f"torch=={pinned.split('+')[0]}"], check=True)


def lock() -> None:
    """Write constraints.txt: the newest versions that pyproject.toml allows, for all extras together."""
    wanted = f".[{','.join(EXTRAS)}]"
    command = [str(python_of(VENV)), "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    done = subprocess.run(
        [*command, "--report", "-", wanted], cwd=ROOT, text=True, check=True, stdout=subprocess.PIPE
    )
    items = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    # A local label such as +cpu names one build of a version; the pin must fit every machine.
    pins = [
        f"{item['name']}=={item['version'].split('+')[0]}" for item in items if item["name"] != "stepaudio"
    ]
    head = "# Made by: python3 bootstrap.py --lock\n"
    (ROOT / "constraints.txt").write_text(head + "\n".join(sorted(pins, key=str.lower)) + "\n")


def main(extras: list[str]) -> None:
    """Create or update the environment with the given extras."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:2]))
        sys.exit(
            f"bootstrap: Python 3.11 or newer is needed, this is {found}; try: make PYTHON=python3.12 ..."
        )
    want = {"fingerprint": fingerprint(), "extras": sorted(extras)}
    have = json.loads(STAMP.read_text()) if STAMP.exists() else {"fingerprint": "", "extras": []}
    if have["fingerprint"] == want["fingerprint"] and set(extras) <= set(have["extras"]):
        return
    print("bootstrap: installing the pinned packages into .venv (a few minutes the first time)", flush=True)
    if not python_of(VENV).exists():
        venv.create(VENV, with_pip=True)
    install_torch()
    both = sorted(
        set(extras) | (set(have["extras"]) if have["fingerprint"] == want["fingerprint"] else set())
    )
    pip("install", "--quiet", "-e", f".[{','.join(both)}]" if both else ".")
    STAMP.write_text(json.dumps({**want, "extras": both}))
    print("bootstrap: done", flush=True)


if __name__ == "__main__":
    lock() if sys.argv[1:] == ["--lock"] else main(sys.argv[1:])
