"""nano from end to end: every miniature twice, offline, from the CLI; behind HTTP; and as a judge."""

import json
import socket
from pathlib import Path

import pytest
from eval_behind import JudgingMind, behind
from eval_server import models, serve
from sizes import full_only, long
from typer.testing import CliRunner

from stepaudio.cli.eval import app
from stepaudio.errors import InputError
from stepaudio.evaluation.judges.agreement import agreement, read_labels
from stepaudio.evaluation.judges.cache import VerdictCache
from stepaudio.evaluation.judges.llm import LlmJudge
from stepaudio.evaluation.report.compare import compare_runs
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.runner.jobs import JudgeSpec
from stepaudio.evaluation.runner.steps import Plan, run_all
from stepaudio.evaluation.suites import list_suites, load_suite
from stepaudio.workers.journal import read_journal

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROOT = Path(__file__).parent.parent
MINIATURES = ROOT / "evals" / "miniatures"
TIMES = {"seconds", "attempts", "timings", "rtf", "first_audio", "first_audio_p95", "total"}


@pytest.fixture(scope="module")
def pulled():
    """nano, where it and the judge's instruments are pulled."""
    from stepaudio import hub, load

    for card in ("nano", "whisper-base", "speaker-ge2e", "dnsmos"):
        if not hub.is_present(hub.load_card(card)):
            pytest.skip(f"the model {card} is not pulled")
    return load("nano", pull=False)


@pytest.fixture
def offline(monkeypatch):
    """Nothing but this machine can be reached."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def from_the_cli(suite: str, model: str, out: Path) -> dict:
    options = ["--model", model, "--data", str(MINIATURES / suite), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, [suite, *options])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def without_times(value):
    """Everything that a run wrote down, but how long it took."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return value


def written(out: Path) -> list:
    """The outputs (with the hashes of their sounds) and the verdicts."""
    paths = [out / "outputs.jsonl", *out.glob("verdicts-*.jsonl")]
    return [without_times(line) for path in paths for line in sorted(read_journal(path), key=_id)]


def _id(line: dict) -> str:
    return line["id"]


def run_twice(suite: str, model: str, folder: Path) -> dict:
    first, second = (from_the_cli(suite, model, folder / name) for name in "ab")
    assert first["done"] == first["items"] == len(load_suite(suite).read(MINIATURES / suite))
    assert not first["failed"]
    assert not first["unjudged"]
    assert first["scores"]
    assert first["scores"] == second["scores"]
    assert written(folder / "a") == written(folder / "b")
    assert (folder / "a" / "report.html").stat().st_size > 1000
    return first


@pytest.mark.parametrize("suite", ["asr", *long(*sorted(set(list_suites()) - {"asr", "codec"}))])
def test_nano_runs_on_every_miniature_with_the_same_numbers_twice(suite, pulled, offline, tmp_path):
    report = run_twice(suite, "nano", tmp_path)
    assert report["system"]["weights"]
    values = {row["name"]: row["value"] for row in report["scores"]}
    # Wide bounds: a miniature ranks nobody, but nano must not be deaf, mute or lost on it.
    for name, worst in {"wer": 0.5, "rate_error": 0.3}.items():
        assert values.get(name, 0.0) <= worst
    for name, least in {"answered": 0.9, "contains": 0.3, "effect": 0.6, "trigger_recall": 0.5}.items():
        assert values.get(name, 1.0) >= least


@full_only
def test_the_codec_suite_runs_twice_or_says_that_there_is_no_codec(pulled, offline, tmp_path):
    if pulled.family.codec is not None:
        report = run_twice("codec", "nano", tmp_path / "nano")
        assert {"wer", "similarity", "mos", "original_wer"} <= {row["name"] for row in report["scores"]}
    else:
        with pytest.raises(InputError, match="codec needs a system that can resynthesise; nano can") as found:
            from_the_cli("codec", "nano", tmp_path / "none")
        assert "\n" not in str(found.value)
    pytest.importorskip("pyworld", reason="the extra train is not installed")
    report = run_twice("codec", "world", tmp_path / "world")
    values = {row["name"]: row["value"] for row in report["scores"]}
    # Copy synthesis keeps the words and the voice.
    assert values["wer"] <= values["original_wer"] + 0.1
    assert values["similarity"] > 0.8


@pytest.mark.parametrize("suite", ["asr", *long("spoken-qa", "stepeval-toolcall", "tts")])
def test_nano_behind_http_scores_as_in_process(suite, pulled, tmp_path):
    name = suite
    if suite == "tts":
        # A voice cannot be cloned through the speech route: both speak in nano's own.
        name = str(tmp_path / "own.yaml")
        Path(name).write_text("name: tts-own\nkind: tts\ntitle: Own voice\nprompts: ignore\n")
    data = MINIATURES / suite
    near = run_all(Plan(name, "nano", data), RunFolder(tmp_path / "near"))
    with serve(behind(pulled)) as url:
        far = run_all(Plan(name, url, data), RunFolder(tmp_path / "far"))
    assert not far["failed"]
    for a, b in zip(near["scores"], far["scores"], strict=True):
        # The sound comes as 16-bit WAV, one rounding more than in process.
        close = 0.01 if a["name"].startswith("mos") else 0.0
        for key in ("value", "low", "high"):
            assert a[key] == pytest.approx(b[key], abs=close), (a["name"], key)
        assert (a["name"], a["n"]) == (b["name"], b["n"])
    if suite != "tts":
        differences = compare_runs(tmp_path / "near", tmp_path / "far")
        assert all(each.difference.difference == 0 for each in differences if not each.metric.noisy)


@full_only
def test_a_real_model_judges_through_http(pulled, tmp_path):
    """nano's mind, held to the schema, is a poor judge but a real one: forms, votes, cache."""
    mind = JudgingMind(pulled.family.mind)
    with serve({"/models": models("smollm2"), "/chat/completions": mind}) as url:
        spec = JudgeSpec(url, 3, tmp_path / "cache")
        plan = Plan("stepeval-audio-360", "nano", MINIATURES / "stepeval-audio-360", 1, spec)
        first = run_all(plan, RunFolder(tmp_path / "a"))
        assert not first["unjudged"]
        assert mind.asked == 3
        [verdicts] = (tmp_path / "a").glob("verdicts-llm-*.jsonl")
        for line in read_journal(verdicts):
            votes = line["details"]["ruling"]["votes"]
            assert len(votes) == 3
            for vote in votes:
                assert set(vote) == {"reason", "factual", "relevant", "chat"}
                assert 1 <= vote["chat"] <= 5
        values = {row["name"]: row["value"] for row in first["scores"]}
        assert {"factuality", "relevance", "chat"} <= set(values)
        # All verdicts are kept: a second run asks nothing and says the same.
        assert run_all(plan, RunFolder(tmp_path / "b"))["scores"] == first["scores"]
        assert mind.asked == 3

        labels = read_labels(ROOT / "evals" / "judge_labels.jsonl")
        few = [
            next(label for label in labels if label["rubric"] == name) for name in ("correct", "checklist")
        ]
        found = agreement(few, LlmJudge(url, votes=1, cache=VerdictCache(tmp_path / "cache")))
    assert {each.rubric for each in found} == {"correct", "checklist"}
    assert all(0 <= each.same.value <= 1 for each in found)
