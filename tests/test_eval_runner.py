"""The runner: nothing lost, nothing twice, whatever is killed; the same results however it is run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from eval_fakes import write_clips
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import size

from stepaudio.errors import AudioError, InputError, ModelError
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.runner.steps import Plan, forget_failures, run_all
from stepaudio.serving.endpoint import RemoteError
from stepaudio.workers.journal import Journal, read_journal
from stepaudio.workers.local import InProcess, Processes
from stepaudio.workers.work import Patience, Patient, Result, Task

TESTS = Path(__file__).parent
NAPPING = "python:eval_fakes:Napping"
QUICK = Patience(attempts=2, backoff=0.001)


def plan_of(data: Path, **changes) -> Plan:
    return Plan(**{"suite": "asr", "system": NAPPING, "data": data, "patience": QUICK} | changes)


def journals(folder: RunFolder) -> tuple[dict, dict]:
    outputs = read_journal(folder.outputs)
    verdicts = read_journal(next(folder.root.glob("verdicts-*.jsonl")))
    for lines in (outputs, verdicts):
        assert max(Counter(line["id"] for line in lines).values()) == 1
    # Wall-clock times are the only thing that may differ between two runs.
    clean = ("seconds", "attempts")
    return (
        {line["id"]: {k: v for k, v in line.items() if k not in clean} for line in outputs},
        {line["id"]: {k: v for k, v in line.items() if k not in clean} for line in verdicts},
    )


@given(
    lines=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9)), max_size=6),
    torn=st.binary(max_size=20).filter(lambda data: b"\n" not in data),
)
@settings(max_examples=40, deadline=None)
def test_a_torn_last_line_is_cut_off_and_the_rest_kept(tmp_path_factory, lines, torn):
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    with Journal(path) as journal:
        for line in lines:
            journal.append(line)
    with path.open("ab") as stream:
        stream.write(torn)
    assert read_journal(path) == lines
    with Journal(path) as journal:
        assert journal.lines == lines
        journal.append({"after": 1})
    assert read_journal(path) == [*lines, {"after": 1}]


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"a":1}\n{"b":\n{"c":3}\n')
    with pytest.raises(InputError, match="line 2 is damaged"):
        read_journal(path)


def test_run_gives_the_known_error_rate_and_goes_on_without_repeating(tmp_path):
    data, folder = write_clips(tmp_path / "data", 20), RunFolder(tmp_path / "run")
    report = run_all(plan_of(data), folder)
    wer = next(row for row in report["scores"] if row["name"] == "wer")
    assert wer["value"] == pytest.approx(4 / 40)
    assert wer["low"] < 0.1 < wer["high"]
    assert set(wer["groups"]) == {"g0", "g1", "g2"}
    before = folder.outputs.read_bytes()
    assert run_all(plan_of(data), folder)["scores"] == report["scores"]
    assert folder.outputs.read_bytes() == before
    page = (folder.root / "report.html").read_text()
    assert "<audio controls" in page
    assert "http" not in page.split("</head>")[1].split("<h2>How it was made")[0]


def test_another_plan_in_the_same_folder_is_refused(tmp_path):
    data, folder = write_clips(tmp_path / "data", 3), RunFolder(tmp_path / "run")
    run_all(plan_of(data), folder)
    with pytest.raises(InputError, match="another limit"):
        run_all(plan_of(data, limit=2), folder)


def test_a_folder_in_use_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(InputError, match="another process"):
        run_all(plan_of(write_clips(tmp_path / "data", 1)), RunFolder(tmp_path / "run"))


def test_limit_is_spread_over_the_groups(tmp_path):
    folder = RunFolder(tmp_path / "run")
    run_all(plan_of(write_clips(tmp_path / "data", 12), limit=6), folder)
    assert Counter(item.group for item in folder.items()) == {"g0": 2, "g1": 2, "g2": 2}


def test_a_failed_item_is_recorded_counted_and_can_be_tried_again(tmp_path, monkeypatch):
    data, folder = write_clips(tmp_path / "data", 10), RunFolder(tmp_path / "run")
    monkeypatch.setenv("EVAL_FAKE_FAIL", "101,102")
    report = run_all(plan_of(data), folder)
    assert [line["error"] for line in report["failed"]] == ["RuntimeError: it does not work"] * 2
    wer = next(row for row in report["scores"] if row["name"] == "wer")
    assert wer["value"] == pytest.approx((2 + 4) / 20)  # both words of each failed clip are missing
    assert wer["n"] == 10
    monkeypatch.setenv("EVAL_FAKE_FAIL", "")
    assert forget_failures(folder) == 2
    report = run_all(plan_of(data), folder)
    assert not report["failed"]
    assert next(row for row in report["scores"] if row["name"] == "wer")["value"] == pytest.approx(2 / 20)


def test_a_damaged_sound_is_made_again(tmp_path):
    data, folder = write_clips(tmp_path / "data", 5), RunFolder(tmp_path / "run")
    run_all(plan_of(data), folder)
    line = read_journal(folder.outputs)[2]
    folder.sound(line["audio"]["file"]).write_bytes(b"rubbish")
    run_all(plan_of(data), folder)
    lines = read_journal(folder.outputs)
    assert len(lines) == 5
    assert all(folder.intact(line) for line in lines)


def test_retries_back_off_on_what_may_pass_and_give_up_on_what_stays():
    waits: list[float] = []
    tries: list[int] = []

    def flaky(task: Task) -> Result:
        tries.append(1)
        if len(tries) < 4:
            raise RemoteError("busy")
        return Result(task.id, {"id": task.id, "ok": True})

    done = Patient(flaky, Patience(attempts=5, backoff=1.0, most_backoff=3.0), waits.append)(Task("a", {}))
    assert done.record["ok"]
    assert done.record["attempts"] == 4
    for wait, longest in zip(waits, (1.0, 2.0, 3.0), strict=True):
        assert longest / 2 <= wait <= longest

    def bad(task: Task) -> Result:
        raise AudioError("not sound")

    waits.clear()
    failed = Patient(bad, Patience(), waits.append)(Task("b", {})).record
    assert failed == {"id": "b", "ok": False, "error": "not sound", "attempts": 1}
    assert not waits


def test_processes_give_what_one_process_gives(tmp_path):
    data = write_clips(tmp_path / "data", 12)
    one, two = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")
    first = run_all(plan_of(data), one, InProcess())
    second = run_all(plan_of(data), two, Processes(2))
    assert journals(one) == journals(two)
    assert first["scores"] == second["scores"]


def test_a_worker_that_dies_is_replaced_and_its_item_done(tmp_path, monkeypatch):
    monkeypatch.setenv("EVAL_FAKE_DEATH", str(tmp_path / "died"))
    data, folder = write_clips(tmp_path / "data", 15), RunFolder(tmp_path / "run")
    report = run_all(plan_of(data), folder, Processes(2))
    assert (tmp_path / "died").exists()
    assert report["done"] == 15
    assert not report["failed"]


def test_a_worker_that_cannot_start_ends_the_run_with_its_reason(tmp_path):
    data = write_clips(tmp_path / "data", 4)
    folder = RunFolder(tmp_path / "run")
    run_all(plan_of(data, limit=1), folder)
    with pytest.raises(ModelError, match="no-such-model"):
        list(Processes(2).run(_Broken(), [Task("a", {}), Task("b", {})]))


class _Broken:
    def __call__(self):
        raise ModelError("no-such-model is not here")


def start_run(data: Path, out: Path, nap: float, *options: str) -> subprocess.Popen:
    code = "from stepaudio.cli.eval import app; app()"
    command = [sys.executable, "-c", code, "run", "asr", "--model", NAPPING, "--data", str(data)]
    env = {**os.environ, "PYTHONPATH": str(TESTS), "EVAL_FAKE_NAP": str(nap), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--out", str(out), "--json", *options],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_and_restart(data: Path, out: Path, kills: int, nap: float, *options: str) -> dict:
    """Kill a run `kills` times at random moments while it has work to do, then let it finish."""
    chance = random.Random(7)
    for _ in range(kills):
        process = start_run(data, out, nap, *options)
        before = len(read_journal(out / "outputs.jsonl"))
        until = time.monotonic() + 600
        # Only a run that is at work is worth killing: wait for its first new item, then a random while.
        while len(read_journal(out / "outputs.jsonl")) == before and time.monotonic() < until:
            if process.poll() is not None:
                break
            time.sleep(0.01)
        time.sleep(chance.random() * nap * 8)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    process = start_run(data, out, 0.0, *options)
    text, _ = process.communicate(timeout=900)
    assert process.returncode == 0
    return json.loads(text)


def check_whole(report: dict, out: Path, count: int) -> None:
    assert report["done"] == report["items"] == count
    assert not report["failed"]
    for path in (out / "outputs.jsonl", next(out.glob("verdicts-*.jsonl"))):
        ids = [line["id"] for line in read_journal(path)]
        assert len(ids) == len(set(ids)) == count
    folder = RunFolder(out)
    assert all(folder.intact(line) for line in read_journal(folder.outputs))


def test_killed_a_few_times_nothing_is_lost_or_done_twice(tmp_path):
    data = write_clips(tmp_path / "data", 40)
    report = kill_and_restart(data, tmp_path / "run", 3, 0.02)
    check_whole(report, tmp_path / "run", 40)


@pytest.mark.slow
def test_two_hundred_items_killed_many_times(tmp_path):
    data = write_clips(tmp_path / "data", 200)
    report = kill_and_restart(data, tmp_path / "run", size(2, 20), 0.05)
    check_whole(report, tmp_path / "run", 200)


@pytest.mark.slow
def test_killed_with_worker_processes(tmp_path):
    data = write_clips(tmp_path / "data", 100)
    report = kill_and_restart(data, tmp_path / "run", 4, 0.05, "--workers", "2")
    check_whole(report, tmp_path / "run", 100)
