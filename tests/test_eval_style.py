"""The style suite: what styles promise, and takes held against it, down to silence and whispers."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import eval_fakes
import numpy as np
import pytest
from eval_fakes import Napping
from fakes import fake_family

from stepaudio.api import StepAudio
from stepaudio.audio import Audio
from stepaudio.effects import Bound
from stepaudio.errors import InputError
from stepaudio.evaluation.items import Item
from stepaudio.evaluation.metrics.dnsmos import Mos
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.runner.steps import Plan, run_all
from stepaudio.evaluation.suites import load_suite
from stepaudio.evaluation.suites.base import Bench
from stepaudio.evaluation.suites.style import promises
from stepaudio.evaluation.systems.base import Answer, Unsupported
from stepaudio.evaluation.systems.family import FamilySystem
from stepaudio.style_tags import TAGS
from stepaudio.styles import find_tag, parse_style

RATE = 16_000
MINIATURES = Path(__file__).parent.parent / "evals" / "miniatures"


def buzz(f0: np.ndarray, level: float = 0.1, roughness: float = 0.002) -> Audio:
    """(T,) F0 at 100 frames a second to a vowel-like buzz with a trace of noise."""
    hz = np.repeat(f0, RATE // 100)
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    sound = sum(np.sin(k * phase) / k**1.5 for k in range(1, 12))
    noise = np.random.default_rng(0).standard_normal(hz.size)
    return Audio((level * sound + roughness * noise).astype(np.float32), RATE)


def glide(low: float, high: float, seconds: float = 2.0) -> np.ndarray:
    """F0 that swings between two values twice a second."""
    swing = (1 - np.cos(2 * np.pi * 2 * np.arange(round(100 * seconds)) / 100)) / 2
    return low * (high / low) ** swing


def test_a_tag_promises_its_bounds_and_a_setting_half_of_the_way() -> None:
    assert promises(parse_style("")) == []
    assert promises(parse_style("very sad")) == list(find_tag("very sad").bounds)
    assert promises(parse_style("speed=1.4")) == [Bound("rate", low=1.2)]
    assert promises(parse_style("speed=0.6")) == [Bound("rate", high=0.8)]
    assert promises(parse_style("range=0")) == [Bound("range", high=0.5)]
    assert promises(parse_style("pitch=-4, energy=6")) == [Bound("pitch", high=-2.0), Bound("level", low=3.0)]
    # The rate of a tag is no promise of a setting, and a song takes its time and pitch from its notes.
    assert promises(parse_style("slow, speed=1.5")) == [*find_tag("slow").bounds, Bound("rate", low=1.25)]
    assert promises(parse_style("singing, pitch=2, speed=1.2")) == list(find_tag("singing").bounds)


class Styled(Napping):
    """Speaks a buzz in the way of a few tags; asked to be fast it is as slow as ever."""

    abilities = frozenset({"speak"})
    said: ClassVar[list] = []

    def speak(self, text, *, style, seed, prompt=None, prompt_text=""):
        self.said.append(style)
        if text == "Silence." or style == "soft":
            return Answer(text, Audio(np.zeros(RATE, np.float32), RATE))
        if style in ("happy", "sad"):
            raise Unsupported(f"cannot speak in the style {style!r}")
        if style == "low":
            return Answer(text)
        if style == "whisper":
            noise = np.random.default_rng(1).standard_normal(2 * RATE)
            return Answer(text, Audio((0.02 * noise).astype(np.float32), RATE))
        return Answer(text, buzz(glide(110, 180, 2.5 if style == "slow" else 2.0)))


def run_styles(folder, monkeypatch, *asked: tuple[str, str]) -> tuple[dict, dict]:
    """Texts and styles, put to `Styled`; the report and its scores by name."""
    monkeypatch.setattr(eval_fakes, "Styled", Styled, raising=False)
    monkeypatch.setattr(Bench, "hear", lambda self, audio, card, language: "hello there")
    monkeypatch.setattr(Bench, "dnsmos", SimpleNamespace(rate=lambda audio: Mos(3.0, 3.0, 3.0, 3.0)))
    Styled.said.clear()
    (folder / "data").mkdir()
    rows = [{"id": f"{text} {style}", "text": text, "style": style} for text, style in asked]
    (folder / "data" / "styles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = Plan("style", "python:eval_fakes:Styled", folder / "data")
    report = run_all(plan, RunFolder(folder / "run"))
    return report, {row["name"]: row for row in report["scores"]}


def by_group(row: dict) -> dict[str, float]:
    return {name: found["value"] for name, found in row["groups"].items()}


def test_the_suite_flags_what_was_met_and_says_plain_speech_once(tmp_path, monkeypatch) -> None:
    asked = [("Hello there.", style) for style in ("", "slow", "fast")]
    report, scores = run_styles(tmp_path, monkeypatch, *asked)
    assert Styled.said == [None, None, "slow", "fast"]
    assert by_group(scores["effect"]) == {"fast": 0.0, "slow": 1.0}
    assert scores["rate"]["groups"]["slow"]["value"] == pytest.approx(0.8, abs=0.02)
    assert scores["rate"]["groups"]["plain"]["value"] == pytest.approx(1.0)
    assert scores["wer"]["value"] == 0.0
    assert "beat" not in scores  # nothing was to be on a grid
    assert {row["better"] for row in report["scores"]} == {"higher", "lower", "neither"}


def test_a_whisper_has_no_pitch_to_compare(tmp_path, monkeypatch) -> None:
    report, scores = run_styles(tmp_path, monkeypatch, ("Hello there.", "whisper"), ("Hello there.", ""))
    assert by_group(scores["effect"]) == {"whisper": 1.0}
    assert set(scores["pitch"]["groups"]) == set(scores["range"]["groups"]) == {"plain"}
    assert scores["voiced"]["groups"]["whisper"]["value"] < 0.05
    journals = [tmp_path / "run" / "outputs.jsonl", *(tmp_path / "run").glob("verdicts-*.jsonl")]
    assert not any("NaN" in path.read_text() for path in journals)
    assert not report["failed"]


def test_rap_is_measured_on_its_grid(tmp_path, monkeypatch) -> None:
    _, scores = run_styles(tmp_path, monkeypatch, ("Hello there.", "slow"), ("Hello there.", "rap"))
    assert Styled.said == ["slow", None, "rap", None]  # plain speech against the grid is a measure of its own
    assert by_group(scores["beat"]) == {"rap": pytest.approx(0.0, abs=0.01)}
    assert by_group(scores["effect"]) == {"rap": 0.0, "slow": 1.0}


@pytest.mark.parametrize(
    ("text", "style"), [("Two words.", "soft"), ("Two words.", "low"), ("Silence.", "high")]
)
def test_silence_and_what_was_not_said_show_no_effect(text, style, tmp_path, monkeypatch) -> None:
    report, scores = run_styles(tmp_path, monkeypatch, (text, style), ("Hello there.", "slow"))
    assert by_group(scores["effect"]) == {"slow": 1.0, style: 0.0}
    assert scores["wer"]["groups"][style]["value"] == 1.0
    assert not report["failed"]
    assert not report["unjudged"]


def test_styles_beyond_the_system_are_told_and_count_nowhere(tmp_path, monkeypatch) -> None:
    asked = [("Hello there.", style) for style in ("slow", "happy", "sad")]
    report, scores = run_styles(tmp_path, monkeypatch, *asked)
    assert (report["done"], report["failed"], report["unjudged"]) == (3, [], [])
    assert report["unsupported"] == [
        {"id": f"Hello there. {style}", "error": f"cannot speak in the style '{style}'"}
        for style in ("happy", "sad")
    ]
    assert Styled.said == ["slow", None, "happy", "sad"]
    assert by_group(scores["effect"]) == {"slow": 1.0}
    assert scores["wer"]["n"] == 1
    told = (tmp_path / "run" / "report.md").read_text()
    assert "Not supported, counted nowhere: 2 items. For example Hello there. happy: cannot speak" in told
    assert "Not supported, counted nowhere (2)" in (tmp_path / "run" / "report.html").read_text()


def test_a_family_says_which_styles_are_beyond_it() -> None:
    family = FamilySystem(StepAudio(fake_family()))
    assert family.speak("Hello.", style="slow", seed=0).audio is not None
    with pytest.raises(Unsupported, match=r"cannot speak in the style 'happy'; it can: .*slow"):
        family.speak("Hello.", style="happy", seed=0)


def test_the_miniature_has_every_tag_that_can_be_measured() -> None:
    items = load_suite("style").read(MINIATURES / "style")
    assert {item.group for item in items} == {tag.name for tag in TAGS if tag.bounds}
    for item in items:
        assert promises(parse_style(item.content["style"]))


def test_an_unknown_tag_is_named_with_its_line(tmp_path) -> None:
    (tmp_path / "styles.jsonl").write_text('{"id": "a", "text": "b", "style": "purple"}\n')
    with pytest.raises(InputError, match="item 1: unknown style tag 'purple'"):
        load_suite("style").read(tmp_path)


def test_a_text_that_was_not_said_shows_no_effect() -> None:
    missed = load_suite("style").missed(Item("a", "slow", {"text": "two words", "style": "slow"}))
    assert missed.scores == {"wer": (2.0, 2.0), "effect": (0.0, 1.0)}
