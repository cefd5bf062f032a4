"""The same runs on a Ray cluster on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from eval_fakes import write_clips
from eval_server import as_json, models, serve
from sizes import full_only
from test_eval_runner import check_whole, journals, plan_of, start_run

from stepaudio.errors import InputError
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.runner.steps import run_all
from stepaudio.workers.cluster import RayCluster
from stepaudio.workers.journal import read_journal
from stepaudio.workers.local import InProcess

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.slow
NAP = 0.02
LONG_NAP = 0.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head node with two CPUs on loopback; its workers see the fakes and the mark that tells one to die."""
    mark = tmp_path_factory.mktemp("mark") / "died"
    places = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    env = {**os.environ, "PYTHONPATH": places, "EVAL_FAKE_NAP": str(NAP), "EVAL_FAKE_DEATH": str(mark)}
    env |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    command = shutil.which("ray", path=str(Path(sys.executable).parent)) or "ray"
    port = free_port()
    options = [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2", "--include-dashboard=false"]
    options += ["--object-store-memory=100000000", "--disable-usage-stats"]
    # Kept in the foreground, in a group of its own: "ray stop" would end every cluster on the machine.
    log = tmp_path_factory.mktemp("head") / "log"
    with log.open("wb") as stream:
        head = subprocess.Popen(
            [command, "start", "--head", "--block", *options],
            env=env,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(head, log)
        yield f"127.0.0.1:{port}", mark
    finally:
        if ray.is_initialized():
            ray.shutdown()
        head.terminate()
        try:
            head.wait(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(head: subprocess.Popen, log: Path) -> None:
    """Wait until the head node says that it is up; connecting earlier makes Ray end this process."""
    until = time.monotonic() + 600
    while b"Ray runtime started" not in log.read_bytes():
        if head.poll() is not None and b"timed out during startup" in log.read_bytes():
            pytest.skip("Ray gave up starting after its 30 s: this machine is too busy")
        assert head.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < until, f"no head node in time: {log.read_text(errors='replace')}"
        time.sleep(0.2)


@full_only
def test_two_hundred_items_with_a_worker_and_the_run_itself_killed(cluster, tmp_path):
    address, mark = cluster
    data = write_clips(tmp_path / "data", 200)
    local, there = RunFolder(tmp_path / "local"), RunFolder(tmp_path / "there")
    mark.touch()  # the local run must not kill this process
    expected = run_all(plan_of(data), local, InProcess())
    mark.unlink()
    options = ("--ray", address, "--workers", "2")
    process = start_run(data, there.root, NAP, *options)
    until = time.monotonic() + 900
    while len(read_journal(there.outputs)) < 60 and time.monotonic() < until:
        assert process.poll() is None, "the run ended too early"
        time.sleep(0.05)
    assert mark.exists(), "no worker was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = len(read_journal(there.outputs))
    assert 60 <= before < 200
    process = start_run(data, there.root, NAP, *options)
    text, _ = process.communicate(timeout=900)
    assert process.returncode == 0
    report = json.loads(text)
    check_whole(report, there.root, 200)
    assert report["scores"] == expected["scores"]
    assert strip_times(journals(there)) == strip_times(journals(local))


class Sleepy:
    """A transcription server that sleeps; knows the most requests that it held at once."""

    def __init__(self):
        self.lock, self.held, self.most = threading.Lock(), 0, 0

    def __call__(self, body, headers):
        self._count(1)
        time.sleep(LONG_NAP)
        self._count(-1)
        # The size of the sound tells the clip, and so the words.
        return as_json({"text": f"clip {len(body) // 1000}"})

    def _count(self, change):
        with self.lock:
            self.held += change
            self.most = max(self.most, self.held)


def test_two_workers_ask_at_the_same_time_and_find_the_same_verdicts(cluster, tmp_path):
    address, _ = cluster
    data, folders = write_clips(tmp_path / "data", 16), {}
    for workers in (1, 2):
        sleepy = Sleepy()
        with serve({"/models": models("sleepy"), "/audio/transcriptions": sleepy}) as url:
            folders[workers] = RunFolder(tmp_path / str(workers))
            # The address differs from run to run, and so stands in no verdict.
            report = run_all(
                plan_of(data, system=url + "#sleepy"), folders[workers], RayCluster(address, workers)
            )
        check_whole(report, folders[workers].root, 16)
        assert sleepy.most == workers
    assert strip_times(journals(folders[1])) == strip_times(journals(folders[2]))


def test_no_cluster_there_is_one_clear_line(tmp_path):
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(InputError, match="no Ray cluster there"):
        run_all(
            plan_of(write_clips(tmp_path / "data", 1)), RunFolder(tmp_path / "run"), RayCluster("127.0.0.1:1")
        )


def strip_times(both):
    outputs, verdicts = both
    plain = {id: {k: v for k, v in line.items() if k != "timings"} for id, line in outputs.items()}
    scores = {id: {k: v for k, v in line["scores"].items() if k != "rtf"} for id, line in verdicts.items()}
    return plain, scores
