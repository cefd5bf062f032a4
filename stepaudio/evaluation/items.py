"""What passes between the steps of a run: items, outputs, verdicts; all of them plain and serialisable."""

from dataclasses import dataclass, field
from typing import Any

from stepaudio.audio import Audio

Score = tuple[float, float]
"""A numerator and a denominator; a metric is the sum of the first over the sum of the second."""


@dataclass(frozen=True)
class Item:
    """One thing to measure.

    Attributes:
        id: unique in its suite, stable from run to run.
        group: the category it is reported under; empty when there is none.
        content: what the suite needs to perform and to judge it: JSON values only, sounds as names of
            files inside the data folder.
    """

    id: str
    group: str
    content: dict[str, Any]


@dataclass(frozen=True)
class Output:
    """What the system under test gave for one item.

    Attributes:
        text: words it wrote or recognised.
        audio: speech it made.
        tool_calls: ``{"name", "arguments"}`` each, in order.
        timings: seconds by name, for example ``total_s`` and ``first_audio_s``.
        details: anything else worth keeping; JSON values only.
    """

    text: str = ""
    audio: Audio | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What an output is worth.

    Attributes:
        scores: by metric; a metric that does not apply to the item is left out.
        details: why: transcripts, explanations, the judge's votes; JSON values only.
    """

    scores: dict[str, Score]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A figure of a suite.

    Attributes:
        name: key in `Verdict.scores`.
        title: how the report calls it.
        better: ``higher``, ``lower``, or ``neither`` for what only describes.
        percent: shown times 100.
        quantile: ``None`` is the ratio of sums over the items, otherwise this quantile of the items' ratios.
        noisy: a time: it differs from run to run, so it is kept apart from the scores.
    """

    name: str
    title: str
    better: str = "higher"
    percent: bool = True
    quantile: float | None = None
    noisy: bool = False


def flag(condition: bool) -> Score:
    """Return the score of a yes-or-no question."""
    return (1.0 if condition else 0.0, 1.0)
