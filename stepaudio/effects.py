"""What a style tag is: what it does to speech, and what must be measured when it is used."""

from dataclasses import dataclass, fields
from typing import Literal

Measure = Literal[
    "rate",  # speaking rate, styled over plain
    "pitch",  # median F0 in semitones above plain
    "range",  # F0 range (10th to 90th percentile, in semitones), styled over plain
    "level",  # level of the speech in dB above plain
    "brightness",  # share of the power above 1 kHz in dB above plain
    "voiced",  # share of the speech that is voiced
    "beat",  # how far onsets keep to the beat, 0 to 1, more than plain
    "held",  # share of the voiced time that stays on a note, more than plain
]
Delivery = Literal["speech", "rap", "singing", "humming"]


@dataclass(frozen=True)
class Effect:
    """What is done to speech; the defaults change nothing.

    Source of the emotions' directions: I. Murray and J. Arnott, "Toward the simulation of emotion in
    synthetic speech" (1993).

    Attributes:
        rate: factor on the speaking rate (of rap and singing: on the tempo).
        pitch: shift of F0 in semitones.
        range: factor on the distance of F0 from the voice's own centre, in semitones; 0 is one tone.
        level: gain in dB.
        tilt: tilt of the spectrum in dB an octave about 1 kHz, at the same level; above 0 is brighter.
        formants: factor on the formants; above 1 is a smaller speaker.
        breath: 0 as the voice is, to 1 where all that is voiced is breath as well.
        tremor: depth of a trembling of F0 in semitones.
        whisper: nothing is voiced.
        delivery: spoken, or in time: on a beat or on notes.
    """

    rate: float = 1.0
    pitch: float = 0.0
    range: float = 1.0
    level: float = 0.0
    tilt: float = 0.0
    formants: float = 1.0
    breath: float = 0.0
    tremor: float = 0.0
    whisper: bool = False
    delivery: Delivery = "speech"

    def __add__(self, other: "Effect") -> "Effect":
        """Return both effects at once: factors multiply, shifts add, one whisper whispers."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("rate", "range", "formants"):
            values[name] *= getattr(other, name)
        for name in ("pitch", "level", "tilt"):
            values[name] += getattr(other, name)
        for name in ("breath", "tremor", "whisper"):
            values[name] = max(values[name], getattr(other, name))
        if other.delivery != "speech":
            values["delivery"] = other.delivery
        return Effect(**values)


@dataclass(frozen=True)
class Bound:
    """What must be measured.

    Attributes:
        measure: of what.
        low: the least that counts as the effect.
        high: the most that does.
    """

    measure: Measure
    low: float = float("-inf")
    high: float = float("inf")

    def holds(self, value: float) -> bool:
        """Whether a measured value shows the effect; NaN does not."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Tag:
    """One style tag.

    Attributes:
        name: the canonical name, lower-case English.
        synonyms: other ways to write it, in any language.
        group: two different tags of one group contradict each other.
        effect: what it does.
        bounds: what can be measured when it is used, on any voice, against the same text said plainly.
        without: tags of other groups that it contradicts.
    """

    name: str
    synonyms: tuple[str, ...]
    group: str
    effect: Effect = Effect()
    bounds: tuple[Bound, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def speed(self) -> float:
        """Factor on the speaking rate."""
        return self.effect.rate
