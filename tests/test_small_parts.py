"""Cancelling, subtitles, bench results, the start of the package and the set-up script."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from stepaudio.bench.result import BenchResult, Figure, table
from stepaudio.cancel import Cancel
from stepaudio.errors import InputError
from stepaudio.results import Segment, Transcript
from stepaudio.subtitles import timestamp, to_srt, to_vtt

REPO = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "onnxruntime", "faster_whisper", "gradio", "soundfile", "av", "numpy", "huggingface_hub")


def test_a_cancelled_token_stays_cancelled():
    cancel = Cancel()
    old = cancel.token()
    assert not old.cancelled
    cancel.cancel()
    new = cancel.token()
    assert old.cancelled
    assert not new.cancelled
    cancel.cancel()
    assert old.cancelled
    assert new.cancelled


def test_subtitles():
    said = Transcript("a b", "en", (Segment(0, 1.5, "a"), Segment(3661.0004, 3662, "b --> c")), 4000, 1)
    assert to_srt(said).splitlines()[:3] == ["1", "00:00:00,000 --> 00:00:01,500", "a"]
    assert "01:01:01,000 --> 01:01:02,000" in to_srt(said)
    assert to_vtt(said).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na\n")
    assert to_vtt(said).count("-->") == 2
    assert timestamp(59.9996, ".") == "00:01:00.000"


def test_rtf_of_an_empty_transcript_is_zero():
    assert Transcript("", "en", (), 0.0, 0.1).rtf == 0.0


def test_bench_shows_the_median_and_the_spread():
    result = BenchResult(
        "turn",
        (Figure("x", "s", (3.0, 1.0, 2.0)),),
        machine={"processor": "P", "cores": 2, "system": "S", "machine": "M", "python": "3"},
    )
    assert "| x | 2 | 1 | 3 | s | 3 |" in table(result)
    figures = json.loads(json.dumps(result.as_dict()))["figures"]
    assert figures["x"]["median"] == 2.0
    assert figures["x"]["samples"] == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("said", "heard", "bad"),
    [
        ("Your number is four seven one nine.", "Your number is 4719.", False),
        ("We met in the old town.", "We met in the old.", False),
        ("We met in the old town.", "We met in the.", True),
        ("We met.", "We met and met and met.", True),
        ("We met.", "", True),
    ],
)
def test_endings_that_are_cut_or_go_on(said: str, heard: str, bad: bool) -> None:
    from stepaudio.bench.speech import ends_badly

    assert ends_badly(said, heard) == bad


def test_an_unknown_bench_suite_names_the_known_ones():
    from stepaudio.bench import run_suite

    with pytest.raises(InputError, match="turn, lm"):
        run_suite("nope", repeats=3, progress=print)


@pytest.mark.parametrize("start", ["import stepaudio", "from stepaudio.cli.main import app"])
def test_the_start_imports_nothing_heavy(start):
    code = f"{start}; import sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_public_names_are_few_and_exist():
    import stepaudio

    assert len(stepaudio.__all__) <= 10
    for name in stepaudio.__all__:
        assert getattr(stepaudio, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        stepaudio.no_such_name  # noqa: B018


@pytest.fixture
def bootstrap():
    spec = importlib.util.spec_from_file_location("bootstrap", REPO / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bootstrap_sees_cuda_in_pips_plan(bootstrap):
    plan = {"install": [{"metadata": {"name": "torch"}}, {"metadata": {"name": "nvidia-cublas"}}]}
    assert bootstrap.brings_cuda(plan)
    assert not bootstrap.brings_cuda({"install": plan["install"][:1]})


def test_bootstrap_refuses_an_old_python(bootstrap, monkeypatch):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit, match="or newer is needed, this is 3"):
        bootstrap.main([])
