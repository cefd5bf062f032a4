"""What a style promises and what was measured: the bounds of its tags and settings against plain speech."""

from dataclasses import dataclass
from math import inf, isnan, log2, nan, sqrt

from stepaudio.evaluation.metrics.delivery import Prosody
from stepaudio.styles import Style, find_tag

FACTORS = ("rate", "range")
SHIFTS = {"pitch": "pitch", "energy": "level"}
"""Settings in semitones or dB, and the measure that they move."""


@dataclass(frozen=True)
class Expected:
    """One promise of a style.

    Attributes:
        measure: a key of what `changes` returns.
        low: the least that keeps it.
        high: the most that does.
    """

    measure: str
    low: float = -inf
    high: float = inf

    def holds(self, value: float) -> bool:
        """Whether a measured value keeps the promise; NaN does not."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        low = "" if self.low == -inf else f" >= {self.low:.3g}"
        high = "" if self.high == inf else f" <= {self.high:.3g}"
        return self.measure + low + high


def promises(style: Style) -> list[Expected]:
    """Return what a style promises: its tags' bounds, and half of what each setting asks for."""
    found: list[Expected] = []
    speed = style.speed
    for tag in map(find_tag, style.tags):
        bounds = getattr(tag, "bounds", None)
        if bounds is None:
            continue
        found += [Expected(bound.measure, bound.low, bound.high) for bound in bounds]
        speed /= tag.speed
    found += _factor("rate", speed) + _factor("range", getattr(style, "range", 1.0))
    for setting, measure in SHIFTS.items():
        found += _shift(measure, getattr(style, setting, 0.0))
    return found


def changes(plain: Prosody, styled: Prosody) -> dict[str, float]:
    """Return the measures of a style: factors and differences of styled against plain speech.

    ``rate`` and ``range`` are factors, ``pitch`` is in semitones, ``level`` and ``brightness`` in dB,
    ``beat`` and ``held`` are differences of shares; ``voiced`` is the styled speech's own share. NaN
    where it cannot be told (F0 of speech without voice).
    """
    both = plain.pitch > 0 and styled.pitch > 0
    return {
        "rate": plain.seconds / styled.seconds,
        "pitch": 12 * log2(styled.pitch / plain.pitch) if both else nan,
        "range": styled.range / plain.range if both and plain.range > 0 else nan,
        "level": styled.level - plain.level,
        "brightness": styled.brightness - plain.brightness,
        "voiced": styled.voiced,
        "beat": styled.beat - plain.beat,
        "held": styled.held - plain.held,
    }


def kept(style: Style, found: dict[str, float]) -> dict[str, bool]:
    """Return for every promise of a style, as words, whether the measured changes keep it."""
    return {str(each): each.holds(found[each.measure]) for each in promises(style)}


def told(found: dict[str, float]) -> dict[str, float | None]:
    """Return measures as JSON takes them: NaN becomes ``None``."""
    return {name: None if isnan(value) else round(value, 4) for name, value in found.items()}


def _factor(measure: str, asked: float) -> list[Expected]:
    if abs(asked - 1) < 1e-6:
        return []
    # Half of the way, in octaves.
    half = sqrt(asked)
    return [Expected(measure, low=half) if asked > 1 else Expected(measure, high=half)]


def _shift(measure: str, asked: float) -> list[Expected]:
    if not asked:
        return []
    return [Expected(measure, low=asked / 2) if asked > 0 else Expected(measure, high=asked / 2)]
