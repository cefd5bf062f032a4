"""Decoding in a child process that cannot hurt us: capped memory, no new files, a time limit.

FFmpeg and mpg123 are where hostile files do harm (memory for what a header claims, messages on
stderr), so they run here. The child gets the file as its standard input and can open nothing else.
It costs about a quarter of a second; formats that libsndfile reads by itself do not pay it.
"""

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import BinaryIO

import numpy as np

from stepaudio.audio.clip import Mix
from stepaudio.audio.limits import Limits
from stepaudio.audio.sink import Sink
from stepaudio.errors import AudioError

# Room for the decoders' own tables and buffers beside the decoded sound.
_WORKING_BYTES = 512 * 2**20
# Even a busy machine decodes five times faster than real time; this is what it may take besides.
_BASE_SECONDS = 60.0
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from stepaudio.audio.guard import main; main(sys.argv[2])"
)


@dataclass(frozen=True)
class _Job:
    decoder: str
    demuxer: str
    start: int
    sample_rate: int | None
    mix: Mix
    limits: Limits


def decode_guarded(
    file: BinaryIO, decoder: str, demuxer: str, start: int, sample_rate: int | None, limits: Limits, mix: Mix
) -> tuple[np.ndarray, int]:
    """Decode in a child process.

    Args:
        file: the encoded file; one in memory goes through a temporary file.
        decoder: ``sndfile`` or ``ffmpeg``.
        demuxer: FFmpeg's name of the parser.
        start: bytes to skip.
        sample_rate: Hz to resample to, or ``None``.
        limits: the caps.
        mix: how channels become one.

    Returns:
        float32 samples ``(n,)`` and their rate in Hz.

    Raises:
        AudioError: what the decoder found wrong, or that it crashed, ran out of memory or of time.
    """
    job = _Job(decoder, demuxer, start, sample_rate, mix, limits)
    command = [sys.executable, "-P", "-c", _START, json.dumps(sys.path), json.dumps(asdict(job))]
    # Several BLAS threads would take address space and start-up time for nothing.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    seconds = _BASE_SECONDS + limits.max_seconds / 5
    with contextlib.ExitStack() as stack:
        try:
            if isinstance(file, io.BytesIO):
                spooled = stack.enter_context(tempfile.TemporaryFile())
                with file.getbuffer() as data:
                    spooled.write(data)
                spooled.flush()
                file = spooled
            child = stack.enter_context(
                subprocess.Popen(
                    command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
                )
            )
        except OSError as error:
            raise AudioError(f"its decoder cannot be started ({error.strerror})") from None
        stack.callback(child.kill)
        clock = threading.Timer(seconds, child.kill)
        stack.callback(clock.cancel)
        clock.start()
        return _receive(child)


def _receive(child: "subprocess.Popen[bytes]") -> tuple[np.ndarray, int]:
    """Read the child's one line of JSON and, when it succeeded, the samples after it."""
    assert child.stdout is not None
    line = child.stdout.readline(65536)
    if not line.endswith(b"\n"):
        raise AudioError(f"damaged: its decoder stopped (exit {child.wait()})")
    reply = json.loads(line)
    if "error" in reply:
        raise AudioError(reply["error"])
    samples = np.empty(int(reply["count"]), dtype=np.float32)
    room = samples.data.cast("B")
    while room and (count := child.stdout.readinto(room)):  # type: ignore[attr-defined]
        room = room[count:]
    if room:
        raise AudioError(f"its decoder stopped half way (exit {child.wait()})")
    return samples, int(reply["sample_rate"])


def main(job_json: str) -> None:
    """What the child runs: decode standard input, answer on standard output."""
    fields = json.loads(job_json)
    job = _Job(**{**fields, "limits": Limits(**fields["limits"])})
    # Whatever a native library prints must not get between our line and our samples.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    file = os.fdopen(0, "rb", closefd=False)
    sink = Sink(job.sample_rate, job.limits, job.mix)
    try:
        decode = _import_decoder(job.decoder)
        _lock_down(job)
        if job.decoder == "ffmpeg":
            decode(file, job.demuxer, sink)
        else:
            decode(file, job.start, os.fstat(0).st_size, sink)
        samples, rate = sink.finish()
    except AudioError as error:
        reply: dict[str, object] = {"error": str(error)}
    except MemoryError:
        reply = {"error": "damaged: its header asks for more memory than its sound can need"}
    except Exception as error:  # the parent must get a reason, whatever a decoder made of the file
        reply = {"error": f"damaged ({type(error).__name__})"}
    else:
        reply = {"sample_rate": rate, "count": samples.size}
    answer.write(json.dumps(reply).encode() + b"\n")
    if "count" in reply:
        answer.write(samples.data.cast("B"))
    answer.flush()


def _import_decoder(name: str) -> Callable[..., None]:
    """Load everything that decoding needs while files can still be opened."""
    import soxr  # noqa: F401

    if name == "ffmpeg":
        import av  # noqa: F401

        # PyAV loads these at the first file that has subtitles, or could.
        for part in ("av.subtitles.codeccontext", "av.subtitles.stream"):
            with contextlib.suppress(ImportError):
                importlib.import_module(part)
        from stepaudio.audio.ffmpeg import decode as ffmpeg_decode

        return ffmpeg_decode
    import soundfile  # noqa: F401

    from stepaudio.audio.sndfile import decode as sndfile_decode

    return sndfile_decode


def _lock_down(job: _Job) -> None:
    """No new descriptors, nothing written to disk, memory capped; where the system knows such limits."""
    try:
        import resource
    except ImportError:  # Windows: the time limit and the caps of the sink remain
        return
    wanted = max(job.limits.max_decoded_bytes, int(job.limits.max_seconds * (job.sample_rate or 0) * 4))
    limits = {resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 3}
    try:
        with open("/proc/self/statm") as statm:
            in_use = int(statm.read().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = in_use + wanted + _WORKING_BYTES
    except OSError:  # macOS has no /proc and does not enforce this limit
        pass
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(name, (value, value))
