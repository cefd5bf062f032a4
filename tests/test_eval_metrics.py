"""Metrics against figures worked out by hand, against jiwer, and in simulation."""

import json

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.audio import Audio
from stepaudio.decoder import ge2e
from stepaudio.errors import AudioError
from stepaudio.evaluation.metrics.answers import contains_answer, exact_match, token_f1
from stepaudio.evaluation.metrics.stats import holm, paired_difference, quantile_interval, ratio_interval
from stepaudio.evaluation.metrics.text import (
    Errors,
    character_errors,
    normalise,
    text_errors,
    word_errors,
)
from stepaudio.evaluation.metrics.tools import same_arguments, tool_scores


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", Errors(0, 0, 0, 6)),
        ("the cat sat on the mat", "the cat sit on mat", Errors(1, 1, 0, 6)),
        ("the cat", "oh the big cat", Errors(0, 0, 2, 2)),
        ("one two three", "", Errors(0, 3, 0, 3)),
        ("", "noise here", Errors(0, 0, 2, 0)),
        ("", "", Errors(0, 0, 0, 0)),
    ],
)
def test_word_errors_by_hand(reference, hypothesis, expected):
    assert word_errors(reference, hypothesis) == expected


def test_rates_of_empty_references():
    assert word_errors("", "noise").rate == 1.0
    assert word_errors("", "").rate == 0.0


WORDS = st.lists(st.sampled_from(["a", "b", "c", "dog", "cat"]), min_size=1, max_size=12).map(" ".join)


@given(WORDS, WORDS)
@settings(max_examples=60, deadline=None)
def test_word_and_character_errors_agree_with_jiwer(reference, hypothesis):
    assert word_errors(reference, hypothesis).rate == pytest.approx(jiwer.wer(reference, hypothesis))
    assert character_errors(reference, hypothesis).rate == pytest.approx(jiwer.cer(reference, hypothesis))


def test_normalisation_follows_whisper():
    assert normalise("Mr. Smith's colour costs $20 million!") == "mister smith is color costs $20000000"
    assert normalise("twenty-five [noise] (laughs) um, okay") == "25 okay"
    assert normalise("  今天，天气 很好！ＡＢＣ", "zh") == "今天天气很好abc"


def test_chinese_is_counted_in_characters():
    # One wrong character, one missing, of five.
    assert text_errors("今天天气好。", "今天天汽", "zh") == Errors(1, 1, 0, 5)


def test_answers_by_hand():
    assert exact_match("The Eiffel Tower!", ["eiffel tower"])
    assert not exact_match("Eiffel", ["eiffel tower"])
    # Tokens: {big, eiffel, tower} against {eiffel, tower}: 2 shared, F1 = 4 / 5.
    assert token_f1("the big Eiffel tower", ["x", "Eiffel tower"]) == pytest.approx(0.8)
    assert contains_answer("It is the capital, Paris, of course.", ["Lyon", "paris"])
    assert not contains_answer("comparisons", ["paris"])
    assert contains_answer("这是北京的天气", ["北京"])
    assert token_f1("北京", ["北京市"]) == pytest.approx(0.8)
    assert not contains_answer("anything", ["!"])


def test_tool_metrics_by_hand():
    dialogues = [
        (True, ["weather"]),  # right
        (True, ["search"]),  # another tool: missed, wrong type
        (True, []),  # missed
        (True, ["search", "weather"]),  # right among two
        (False, ["weather"]),  # false alarm
        (False, ["search"]),  # another tool is allowed
        (False, []),
    ]
    sums: dict[str, list[float]] = {}
    for positive, called in dialogues:
        for name, (num, den) in tool_scores(["weather"], positive, called).items():
            total = sums.setdefault(name, [0.0, 0.0])
            total[0] += num
            total[1] += den
    assert sums == {"trigger_precision": [2, 3], "trigger_recall": [2, 4], "type_accuracy": [2, 3]}


@pytest.mark.parametrize(
    ("gold", "given_", "same"),
    [
        ({"city": "New York"}, {"city": "new york "}, True),
        ({"n": 3}, {"n": "3.0"}, True),
        ({"city": "Oslo"}, {"city": "Oslo", "day": "today"}, False),
        ({"tags": ["A", "b"]}, {"tags": ["a", "B"]}, True),
        ({"on": True}, {"on": False}, False),
        ({"query": "天气，北京"}, {"query": "天气北京"}, True),
    ],
)
def test_arguments(gold, given_, same):
    assert same_arguments(gold, given_) is same


@pytest.mark.parametrize("kind", ["proportion", "skewed", "ratio"])
def test_intervals_cover_at_the_stated_rate(kind):
    rng = np.random.default_rng(11)
    trials, inside = 400, 0
    for trial in range(trials):
        if kind == "proportion":
            num, den, truth = rng.random(80) < 0.7, np.ones(80), 0.7
        elif kind == "skewed":
            num, den, truth = rng.exponential(2.0, 80), np.ones(80), 2.0
        else:  # a word error rate: errors over words, of clips of all lengths
            den = rng.integers(3, 30, 80)
            num, truth = rng.binomial(den, 0.1), 0.1
        found = ratio_interval(num, den, resamples=500, seed=trial)
        inside += found.low <= truth <= found.high
    # Chance alone spreads this by 0.011; skewed scores of 80 items fall a little short.
    assert 0.91 <= inside / trials <= 0.98


def test_ninety_percent_intervals_are_narrower_and_cover_less():
    rng = np.random.default_rng(5)
    inside = 0
    for trial in range(400):
        sample = rng.normal(1.0, 1.0, 60)
        found = ratio_interval(sample, np.ones(60), confidence=0.9, resamples=500, seed=trial)
        inside += found.low <= 1.0 <= found.high
    assert 0.86 <= inside / 400 <= 0.94


def test_intervals_at_the_edges():
    assert ratio_interval([], []) is None
    assert ratio_interval([0.0], [0.0]) is None
    perfect = ratio_interval([1.0] * 20, [1.0] * 20)
    assert perfect.value == perfect.high == 1.0
    assert perfect.low == pytest.approx(0.8389, abs=1e-3)  # Wilson, 20 of 20
    faultless = ratio_interval([0.0] * 4, [5.0] * 4)
    assert (faultless.value, faultless.low) == (0.0, 0.0)
    assert faultless.high == pytest.approx(0.1611, abs=1e-3)  # Wilson, 0 of 20 words
    single = ratio_interval([2.0], [5.0])
    assert (single.value, single.low, single.high) == (0.4, 0.4, 0.4)
    middle = quantile_interval([3.0, 1.0, 2.0], 0.5)
    assert middle.value == 2.0
    assert 1.0 <= middle.low <= middle.high <= 3.0


def test_intervals_are_repeatable():
    values = list(np.random.default_rng(0).random(50))
    assert ratio_interval(values, [1] * 50) == ratio_interval(values, [1] * 50)


def test_paired_test_rejects_at_its_level_and_sees_real_differences():
    rng = np.random.default_rng(3)
    rejected = 0
    for trial in range(300):
        base = rng.normal(0.5, 0.3, 40)
        a = [(x, 1.0) for x in base + rng.normal(0, 0.1, 40)]
        b = [(x, 1.0) for x in base + rng.normal(0, 0.1, 40)]
        rejected += paired_difference(a, b, resamples=10, permutations=400, seed=trial).p < 0.05
    assert 0.02 <= rejected / 300 <= 0.09
    better = paired_difference(a, [(x + 0.1, 1.0) for x, _ in a])
    assert better.difference == pytest.approx(0.1)
    assert better.p < 0.001
    assert better.low <= 0.1 <= better.high


def test_the_same_scores_differ_by_nothing():
    scores = [(1.0, 3.0), (0.0, 4.0), (2.0, 5.0)]
    same = paired_difference(scores, scores)
    assert same.difference == 0
    assert same.p == 1.0
    with pytest.raises(ValueError, match="paired"):
        paired_difference(scores, scores[:2])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def vowel(seconds: float, pitch: float) -> Audio:
    """A buzzing vowel with a wandering pitch and a little noise: the clip of the golden figures."""
    rng = np.random.default_rng(42)
    time = np.arange(round(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 3 * time))) / 16_000
    sound = sum(np.sin(k * phase) / k for k in range(1, 20)) + 0.01 * rng.standard_normal(time.size)
    return Audio((0.1 * sound * (1 + np.sin(2 * np.pi * 2 * time)) / 2).astype(np.float32), 16_000)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(16_000, ([0], 25_600)), (40_000, ([0, 77], 37_920)), (44_000, ([0, 77, 154], 50_240))],
)
def test_windows_of_the_speaker_encoder(samples, expected):
    assert ge2e.partials(samples) == expected


def test_silence_has_no_voice():
    with pytest.raises(AudioError, match="silent"):
        ge2e.levelled(np.zeros(16_000, np.float32))
    loud = np.full(100, 0.5, np.float32)
    np.testing.assert_array_equal(ge2e.levelled(loud), loud)


@pytest.mark.e2e
def test_voices_and_quality_equal_the_reference_implementations(golden):
    """Figures of resemblyzer 0.1.4 and speechmos 0.0.1.1 on the same clips."""
    from stepaudio import hub
    from stepaudio.evaluation.metrics.dnsmos import CARD, Dnsmos

    expected = json.loads((golden / "voice_metrics.json").read_text())
    cards = (ge2e.CARD, CARD)
    if not all(hub.is_present(hub.load_card(card)) for card in cards):
        pytest.skip(f"models {' and '.join(cards)} are not pulled")
    encoder = ge2e.SpeakerEncoder.load(hub.folder(ge2e.CARD))
    dnsmos = Dnsmos(hub.folder(CARD))
    for row in expected:
        clip = vowel(row["seconds"], row["pitch"])
        np.testing.assert_allclose(encoder.embed(clip), row["embedding"], atol=2e-6)
        mos = dnsmos.rate(clip)
        got = [mos.speech, mos.background, mos.overall, mos.p808]
        np.testing.assert_allclose(got, row["mos"], atol=2e-5)
    a, b = (encoder.embed(vowel(3.0, pitch)) for pitch in (110, 220))
    assert ge2e.similarity(a, a) == pytest.approx(1.0, abs=1e-6)
    assert ge2e.similarity(a, b) < 0.95
