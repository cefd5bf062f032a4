"""The style tags: what each is called, what it does to speech, and what must be measured when it is used.

One table for all families. A mouth reads the `Effect`; tests and the ``style`` suite read the bounds.
"""

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


def _at_least(measure: Measure, low: float) -> Bound:
    return Bound(measure, low=low)


def _at_most(measure: Measure, high: float) -> Bound:
    return Bound(measure, high=high)


TAGS: tuple[Tag, ...] = (
    Tag(
        "rap",
        ("RAP", "rapping", "说唱"),
        "singing",
        Effect(range=0.8, level=1.0, tilt=0.5, delivery="rap"),
        (_at_least("beat", 0.1),),
        without=("whisper",),
    ),
    Tag(
        "humming",
        ("hum", "哼唱"),
        "singing",
        Effect(delivery="humming"),
        (_at_least("held", 0.25), _at_least("voiced", 0.8), _at_most("brightness", -2.5)),
        without=("whisper", "monotone", "expressive"),  # notes leave no room for another intonation
    ),
    Tag(
        "singing",
        ("sing", "song", "歌唱", "唱歌"),
        "singing",
        Effect(delivery="singing"),
        (_at_least("held", 0.25),),
        without=("whisper", "monotone", "expressive"),  # notes leave no room for another intonation
    ),
    Tag(
        "happy",
        ("cheerful", "joyful", "开心", "愉快", "高兴", "高兴1"),
        "emotion",
        Effect(rate=1.06, pitch=2.0, range=1.4, level=1.5, tilt=0.5, formants=1.02),
        (_at_least("pitch", 1.0), _at_least("range", 1.12)),
    ),
    Tag(
        "very happy",
        ("delighted", "非常高兴", "高兴2"),
        "emotion",
        Effect(rate=1.1, pitch=3.5, range=1.7, level=2.5, tilt=0.8, formants=1.03),
        (_at_least("pitch", 2.0), _at_least("range", 1.25)),
    ),
    Tag(
        "excited",
        ("enthusiastic", "激动", "兴奋"),
        "emotion",
        Effect(rate=1.2, pitch=3.0, range=1.5, level=4.0, tilt=1.0),
        (_at_least("rate", 1.1), _at_least("pitch", 1.5), _at_least("level", 2.0)),
    ),
    Tag(
        "angry",
        ("mad", "愤怒", "生气", "生气1"),
        "emotion",
        Effect(rate=1.12, pitch=0.0, range=1.3, level=4.0, tilt=1.5),
        (_at_least("level", 2.0), _at_least("brightness", 1.0), _at_least("rate", 1.05)),
    ),
    Tag(
        "very angry",
        ("furious", "非常生气", "生气2"),
        "emotion",
        Effect(rate=1.2, pitch=1.5, range=1.5, level=6.0, tilt=2.2),
        (_at_least("level", 3.0), _at_least("brightness", 1.5), _at_least("rate", 1.1)),
    ),
    Tag(
        "sad",
        ("unhappy", "难过", "悲伤", "悲伤1"),
        "emotion",
        Effect(rate=0.85, pitch=-2.0, range=0.55, level=-3.0, tilt=-1.0, breath=0.2),
        (_at_most("pitch", -0.8), _at_most("range", 0.8), _at_most("rate", 0.93)),
    ),
    Tag(
        "very sad",
        ("heartbroken", "非常悲伤", "悲伤2"),
        "emotion",
        Effect(rate=0.78, pitch=-2.5, range=0.4, level=-5.0, tilt=-1.5, breath=0.35, tremor=0.2),
        (_at_most("pitch", -1.0), _at_most("range", 0.7), _at_most("rate", 0.88), _at_most("level", -3.0)),
    ),
    Tag(
        "calm",
        ("relaxed", "soothing", "平静", "冷静"),
        "emotion",
        Effect(rate=0.9, pitch=-1.0, range=0.65, level=-2.0, tilt=-0.7),
        (_at_most("range", 0.85), _at_most("rate", 0.96), _at_most("level", -1.0)),
    ),
    Tag(
        "gentle",
        ("tender", "warm", "温和", "温柔"),
        "emotion",
        Effect(rate=0.93, pitch=0.5, range=0.85, level=-4.0, tilt=-1.5, breath=0.3),
        (_at_most("level", -2.5), _at_most("brightness", -1.0)),
    ),
    Tag(
        "serious",
        ("stern", "solemn", "认真", "严肃"),
        "emotion",
        Effect(rate=0.93, pitch=-2.0, range=0.75, level=1.0),
        (_at_most("pitch", -0.8), _at_most("range", 0.92)),
    ),
    Tag(
        "afraid",
        ("scared", "fearful", "恐惧", "害怕"),
        "emotion",
        Effect(rate=1.12, pitch=3.5, range=0.8, level=-2.0, breath=0.35, tremor=0.4),
        (_at_least("pitch", 2.0), _at_least("rate", 1.05), _at_most("level", -0.8)),
    ),
    Tag(
        "surprised",
        ("amazed", "惊讶", "吃惊"),
        "emotion",
        Effect(pitch=4.0, range=1.8, level=1.5),
        (_at_least("pitch", 2.2), _at_least("range", 1.3)),
    ),
    Tag(
        "tired",
        ("bored", "sleepy", "无聊", "疲惫"),
        "emotion",
        Effect(rate=0.8, pitch=-1.0, range=0.45, level=-3.0, tilt=-0.7, breath=0.2),
        (_at_most("rate", 0.88), _at_most("range", 0.75), _at_most("level", -1.5)),
    ),
    Tag(
        "coquettish",
        ("playful", "撒娇", "撒娇1"),
        "emotion",
        Effect(rate=0.92, pitch=3.5, range=1.4, formants=1.05, breath=0.15),
        (_at_least("pitch", 2.0), _at_least("range", 1.12), _at_most("rate", 0.97)),
    ),
    Tag("chinese", ("mandarin", "中文"), "language"),
    Tag("english", ("英文",), "language"),
    Tag("korean", ("韩语",), "language"),
    Tag("japanese", ("日语",), "language"),
    Tag("sichuanese", ("四川话",), "language"),
    Tag("cantonese", ("粤语",), "language"),
    Tag("guangdong", ("广东话",), "language"),
    Tag(
        "very slow",
        ("very slowly", "慢速2", "非常慢", "很慢"),
        "rate",
        Effect(rate=0.65),
        (_at_most("rate", 0.8),),
    ),
    Tag("slow", ("slowly", "慢速1", "慢速", "慢"), "rate", Effect(rate=0.8), (_at_most("rate", 0.9),)),
    Tag(
        "fast",
        ("quick", "quickly", "快速1", "快速", "快"),
        "rate",
        Effect(rate=1.25),
        (_at_least("rate", 1.1),),
    ),
    Tag(
        "very fast",
        ("very quick", "快速2", "非常快", "很快"),
        "rate",
        Effect(rate=1.5),
        (_at_least("rate", 1.25),),
    ),
    Tag(
        "whisper",
        ("whispering", "whispered", "悄悄话", "耳语"),
        "phonation",
        Effect(rate=0.95, level=-9.0, breath=1.0, whisper=True),
        (_at_most("voiced", 0.15), _at_most("level", -4.0)),
        without=("loud", "shouting", "high", "low", "monotone", "expressive"),
    ),
    Tag("loud", ("loudly", "大声"), "volume", Effect(level=5.0, tilt=0.5), (_at_least("level", 2.5),)),
    Tag(
        "soft",
        ("quiet", "quietly", "softly", "轻声", "小声"),
        "volume",
        Effect(level=-7.0, tilt=-0.5),
        (_at_most("level", -4.0),),
    ),
    Tag(
        "shouting",
        ("shout", "yelling", "大喊", "喊叫"),
        "volume",
        Effect(pitch=3.0, level=7.0, tilt=1.8),
        (_at_least("level", 3.0), _at_least("pitch", 1.5), _at_least("brightness", 1.0)),
    ),
    Tag(
        "high",
        ("high-pitched", "high pitch", "尖声", "高音"),
        "pitch",
        Effect(pitch=4.0),
        (_at_least("pitch", 2.5),),
    ),
    Tag(
        "low",
        ("low-pitched", "low pitch", "低音"),
        "pitch",
        Effect(pitch=-3.5),
        (_at_most("pitch", -2.0),),
    ),
    Tag(
        "deep",
        ("浑厚", "低沉"),
        "pitch",
        Effect(pitch=-3.0, formants=0.92),
        (_at_most("pitch", -1.7),),
    ),
    Tag(
        "childlike",
        ("child", "kid", "童声"),
        "pitch",
        Effect(pitch=6.0, range=1.1, formants=1.15),
        (_at_least("pitch", 4.0),),
    ),
    Tag(
        "monotone",
        ("flat", "robotic", "机械", "单调"),
        "intonation",
        Effect(range=0.06),
        (_at_most("range", 0.4),),
    ),
    Tag(
        "expressive",
        ("lively", "dramatic", "生动", "抑扬顿挫"),
        "intonation",
        Effect(range=1.8),
        (_at_least("range", 1.3),),
    ),
)
