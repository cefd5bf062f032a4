"""The same runs on a Ray cluster on loopback."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from eval_fakes import write_clips
from test_eval_runner import check_whole, journals, plan_of

from stepaudio.errors import InputError
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.runner.steps import run_all
from stepaudio.workers.cluster import RayCluster
from stepaudio.workers.local import InProcess

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.slow
PORT = 6390
NAP = 0.1


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head node with two CPUs on loopback; its workers see the fakes and the mark that tells one to die."""
    mark = tmp_path_factory.mktemp("mark") / "died"
    places = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    env = {**os.environ, "PYTHONPATH": places, "EVAL_FAKE_NAP": str(NAP), "EVAL_FAKE_DEATH": str(mark)}
    env |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    command = shutil.which("ray", path=str(Path(sys.executable).parent)) or "ray"
    started = subprocess.run(
        [
            command,
            "start",
            "--head",
            f"--port={PORT}",
            "--node-ip-address=127.0.0.1",
            "--num-cpus=2",
            "--include-dashboard=false",
            "--object-store-memory=100000000",
            "--disable-usage-stats",
        ],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    yield f"127.0.0.1:{PORT}", mark
    subprocess.run([command, "stop", "--force"], env=env, capture_output=True, check=False)


def test_two_actors_give_what_one_process_gives_with_one_killed_on_the_way(cluster, tmp_path):
    address, mark = cluster
    data = write_clips(tmp_path / "data", 40)
    folders = {name: RunFolder(tmp_path / name) for name in ("local", "one", "two")}
    mark.touch()  # the local run must not kill this process
    local = run_all(plan_of(data), folders["local"], InProcess())
    spent = {}
    for name, workers in (("one", 1), ("two", 2)):
        if name == "two":
            mark.unlink()
        started = time.perf_counter()
        report = run_all(plan_of(data), folders[name], RayCluster(address, workers))
        spent[name] = time.perf_counter() - started
        check_whole(report, folders[name].root, 40)
        assert report["scores"] == local["scores"]
        assert strip_times(journals(folders[name])) == strip_times(journals(folders["local"]))
    assert mark.exists(), "no worker was killed"


def test_speed_of_two_against_one(cluster, tmp_path):
    """Prints the ratio (run with -s); what it is depends on the machine, so nothing is asserted about it."""
    from stepaudio.evaluation.runner.jobs import Performing
    from stepaudio.workers.work import Task

    address, mark = cluster
    mark.touch()
    data = write_clips(tmp_path / "data", 60)
    plan = plan_of(data)
    folder = RunFolder(tmp_path / "plan")
    run_all(plan, folder, InProcess())
    tasks = [
        Task(i.id, {"item": {"id": i.id, "group": i.group, "content": i.content}}) for i in folder.items()
    ]
    spent = {}
    for workers in (1, 2):
        first = None
        for _ in RayCluster(address, workers).run(Performing("asr", plan.system, data), tasks):
            first = first or time.perf_counter()
        spent[workers] = time.perf_counter() - first  # from the first result on: without the actors' start
    print(
        f"\nRay, {len(tasks)} items of {NAP} s: 1 worker {spent[1]:.2f} s, 2 workers {spent[2]:.2f} s, "
        f"ratio {spent[1] / spent[2]:.2f}"
    )


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
