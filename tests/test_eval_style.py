"""The style suite: measures of prosody against sounds built by hand, and what styles promise."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import eval_fakes
import numpy as np
import pytest
from eval_fakes import Napping

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.evaluation.metrics.delivery import (
    beat_strength,
    brightness,
    f0_range,
    held_share,
    measure,
    melody_error,
    onsets,
    speech_level,
)
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.runner.steps import Plan, run_all
from stepaudio.evaluation.suites import effects, load_suite
from stepaudio.evaluation.suites.effects import Expected, changes, kept, promises, told
from stepaudio.styles import parse_style

RATE = 16_000


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


def test_f0_range_by_hand():
    # 100 to 200 Hz evenly in semitones: the inner 80 % span 9.6 of the 12.
    track = 100 * 2 ** np.linspace(0, 1, 101)
    assert f0_range(track) == pytest.approx(9.6)
    assert f0_range(np.concatenate([np.zeros(50), track])) == pytest.approx(9.6)
    assert f0_range(np.zeros(10)) == 0.0


def test_level_leaves_pauses_out():
    tone = 0.1 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    alone = speech_level(tone)
    assert alone == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.05)
    assert speech_level(np.concatenate([tone, np.zeros(3 * RATE)])) == pytest.approx(alone, abs=0.05)
    assert speech_level(tone * 2) - alone == pytest.approx(6.02, abs=0.01)
    assert speech_level(np.zeros(RATE)) == speech_level(np.zeros(0)) == -100.0


def test_brightness_is_the_share_above_1_khz():
    time = np.arange(RATE) / RATE
    low, high = np.sin(2 * np.pi * 200 * time), np.sin(2 * np.pi * 3000 * time)
    assert brightness(low + high) == pytest.approx(-3.01, abs=0.01)
    assert brightness(low + high / 3) == pytest.approx(-10.0, abs=0.01)
    assert brightness(np.zeros(100)) == -100.0


def test_onsets_are_found_where_sounds_begin():
    starts = [0.2, 0.55, 0.8, 1.4, 1.7]
    sound = np.zeros(2 * RATE)
    for at in starts:
        length = RATE // 10
        burst = np.sin(2 * np.pi * 300 * np.arange(length) / RATE) * np.hanning(2 * length)[length:]
        sound[round(at * RATE) : round(at * RATE) + length] += 0.3 * burst
    assert onsets(sound) == pytest.approx(starts, abs=0.03)
    assert onsets(np.zeros(RATE)).size == onsets(np.zeros(0)).size == 0


def test_a_metronome_keeps_the_beat_and_chance_does_not():
    even = np.arange(12) * 0.4 + 0.13
    assert beat_strength(even) == pytest.approx(1.0, abs=0.01)
    assert beat_strength(even, 0.4) == pytest.approx(1.0)
    assert beat_strength(np.arange(12) * 0.4 % 0.3, 0.3) < 0.2  # spread evenly over the beat
    rng = np.random.default_rng(2)
    # Jitter of s seconds leaves exp(-2 (pi s / period)^2) of it.
    shaken = np.arange(400) * 0.4 + 0.04 * rng.standard_normal(400)
    assert beat_strength(shaken, 0.4) == pytest.approx(np.exp(-2 * (np.pi * 0.1) ** 2), abs=0.03)
    chance = [beat_strength(np.sort(rng.random(20) * 6)) for _ in range(20)]
    assert np.mean(chance) < 0.7
    assert beat_strength(even[:2]) == 0.0


def test_held_notes_are_told_from_gliding_speech():
    notes = np.repeat([200.0, 224.5, 252.0, 0.0, 200.0], 40)
    assert held_share(notes) > 0.95
    assert held_share(glide(100, 160)) < 0.2
    assert held_share(np.repeat([200.0, 0.0], [11, 20])) == 0.0  # 110 ms are too short
    assert held_share(np.zeros(30)) == 0.0


def test_melody_error_by_hand():
    notes = [(0.0, 0.5, 200.0), (0.5, 1.0, 400.0)]
    right = np.repeat([200.0, 400.0], 50)
    assert melody_error(right, notes) == pytest.approx(0.0)
    assert melody_error(right * 2 ** (1 / 12), notes) == pytest.approx(1.0)
    half = np.repeat([200.0, 400.0 * 2 ** (-2 / 12)], 50)
    assert melody_error(half, notes) == pytest.approx(1.0)
    assert np.isnan(melody_error(np.zeros(100), notes))


def test_a_clip_is_measured_as_it_was_made():
    clip = buzz(glide(120, 240))
    found = measure(clip)
    assert found.seconds == pytest.approx(2.0, abs=0.1)
    assert found.pitch == pytest.approx(np.median(glide(120, 240)), rel=0.03)
    assert found.range == pytest.approx(f0_range(glide(120, 240)), abs=0.6)
    assert found.voiced > 0.9
    noise = np.random.default_rng(1).standard_normal(2 * RATE) * np.hanning(2 * RATE)
    whispered = measure(Audio((0.05 * noise).astype(np.float32), RATE))
    assert whispered.voiced < 0.15


def test_changes_tell_what_was_done():
    plain = measure(buzz(glide(120, 200)))
    same = changes(plain, plain)
    assert same["rate"] == same["range"] == 1.0
    assert same["pitch"] == same["level"] == same["beat"] == same["held"] == 0.0
    up = changes(plain, measure(buzz(glide(120, 200) * 2 ** (3 / 12))))
    assert up["pitch"] == pytest.approx(3.0, abs=0.2)
    assert up["range"] == pytest.approx(1.0, abs=0.1)
    flat = changes(plain, measure(buzz(np.full(200, 155.0))))
    assert flat["range"] < 0.2
    assert flat["held"] > 0.5
    loud = changes(plain, measure(buzz(glide(120, 200), level=0.2, roughness=0.004)))
    assert loud["level"] == pytest.approx(6.0, abs=0.2)
    short = changes(plain, measure(buzz(glide(120, 200, 1.0))))
    assert short["rate"] == pytest.approx(2.0, abs=0.15)
    whisper = changes(plain, replace(plain, pitch=0.0, range=0.0, voiced=0.0))
    assert np.isnan(whisper["pitch"])
    assert told(whisper)["pitch"] is None


def test_settings_promise_half_of_what_they_ask():
    assert promises(parse_style("speed=1.44")) == [Expected("rate", low=1.2)]
    assert promises(parse_style("speed=0.64")) == [Expected("rate", high=0.8)]
    assert promises(parse_style("")) == []
    [slow] = promises(parse_style("slow"))
    assert slow.measure == "rate"
    assert slow.holds(0.8)
    assert not slow.holds(1.0)
    assert not slow.holds(float("nan"))


def test_tags_and_settings_of_every_kind_are_held_against_their_bounds(monkeypatch):
    bound = SimpleNamespace(measure="pitch", low=1.0, high=float("inf"))
    tag = SimpleNamespace(name="happy", speed=1.1, bounds=(bound,))
    monkeypatch.setattr(effects, "find_tag", lambda name: tag)
    style = SimpleNamespace(tags=("happy",), speed=1.1, pitch=-4.0, range=2.25, energy=-6.0)
    assert promises(style) == [
        Expected("pitch", low=1.0),  # the tag's own; its rate is no promise of the setting
        Expected("range", low=1.5),
        Expected("pitch", high=-2.0),
        Expected("level", high=-3.0),
    ]
    verdicts = kept(style, {"pitch": 2.0, "range": 1.6, "level": -2.0})
    assert list(verdicts.values()) == [True, True, False, False]
    assert next(iter(verdicts)) == "pitch >= 1"


class Styled(Napping):
    """Speaks a buzz; slower for "slow", as fast as ever for "fast"."""

    abilities = frozenset({"speak"})
    said: ClassVar[list] = []

    def speak(self, text, *, style, seed, prompt=None, prompt_text=""):
        from stepaudio.evaluation.systems.base import Answer

        self.said.append(style)
        return Answer(text, buzz(glide(110, 180, 2.5 if style == "slow" else 2.0)))


def test_the_suite_flags_what_was_met_and_says_plain_speech_once(tmp_path, monkeypatch):
    from stepaudio.evaluation.metrics.dnsmos import Mos
    from stepaudio.evaluation.suites.base import Bench

    monkeypatch.setattr(eval_fakes, "Styled", Styled, raising=False)
    monkeypatch.setattr(Bench, "hear", lambda self, audio, card, language: "hello there")
    monkeypatch.setattr(Bench, "dnsmos", SimpleNamespace(rate=lambda audio: Mos(3.0, 3.0, 3.0, 3.0)))
    Styled.said.clear()
    rows = [
        {"id": style or "plain", "text": "Hello there.", "style": style} for style in ("", "slow", "fast")
    ]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "styles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = Plan("style", "python:eval_fakes:Styled", tmp_path / "data")
    report = run_all(plan, RunFolder(tmp_path / "run"))
    assert Styled.said == [None, None, "slow", "fast"]
    scores = {row["name"]: row for row in report["scores"]}
    assert {name: found["value"] for name, found in scores["effect"]["groups"].items()} == {
        "fast": 0.0,
        "slow": 1.0,
    }
    assert scores["rate"]["groups"]["slow"]["value"] == pytest.approx(0.8, abs=0.02)
    assert scores["rate"]["groups"]["plain"]["value"] == 1.0
    assert scores["wer"]["value"] == 0.0
    assert {row["better"] for row in report["scores"]} == {"higher", "lower", "neither"}


def test_an_unknown_tag_is_named_with_its_line(tmp_path):
    (tmp_path / "styles.jsonl").write_text('{"id": "a", "text": "b", "style": "purple"}\n')
    with pytest.raises(InputError, match="item 1: unknown style tag 'purple'"):
        load_suite("style").read(tmp_path)


def test_a_text_that_was_not_said_shows_no_effect():
    suite = load_suite("style")
    from stepaudio.evaluation.items import Item

    missed = suite.missed(Item("a", "slow", {"text": "two words", "style": "slow"}))
    assert missed.scores == {"wer": (2.0, 2.0), "effect": (0.0, 1.0)}
