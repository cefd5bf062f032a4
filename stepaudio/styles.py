"""How something is said: tags and settings, parsed strictly; the tags stand in `stepaudio.style_tags`.

What a mouth cannot do is an error, never silently ignored.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from stepaudio.effects import Effect, Tag
from stepaudio.errors import InputError
from stepaudio.speech.melody import Note, parse_melody
from stepaudio.style_tags import TAGS

MIN_SPEED = 0.5
MAX_SPEED = 2.0


@dataclass(frozen=True)
class Setting:
    """A number that a style can hold.

    Attributes:
        low: the least it may be.
        high: the most.
        neutral: what changes nothing, or what is taken where none is given.
        unit: of the number, for messages.
    """

    low: float
    high: float
    neutral: float | None
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (f" {self.unit}" if self.unit else "")


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "speed": Setting(MIN_SPEED, MAX_SPEED, 1.0),
        "pitch": Setting(-12.0, 12.0, 0.0, "semitones"),
        "range": Setting(0.0, 3.0, 1.0),
        "energy": Setting(-20.0, 10.0, 0.0, "dB"),
        "tempo": Setting(40.0, 240.0, None, "beats a minute"),
    }
)
_MELODY = "melody"
_TIMED = frozenset({"rap", "singing", "humming"})
_SUNG = frozenset({"singing", "humming"})

# What every mouth does: it speaks slower or faster.
RATE_TAGS = frozenset(tag.name for tag in TAGS if tag.group == "rate")
# What a mouth does that makes its sound from WORLD frames: all but languages.
FRAME_STYLES = (
    frozenset(tag.name for tag in TAGS if tag.group != "language") | frozenset(SETTINGS) | {_MELODY}
)


def _index(tags: tuple[Tag, ...]) -> Mapping[str, Tag]:
    return MappingProxyType({word.lower(): tag for tag in tags for word in (tag.name, *tag.synonyms)})


_BY_WORD = _index(TAGS)


@dataclass(frozen=True)
class Style:
    """A style as a mouth takes it.

    Attributes:
        speed: factor on the speaking rate, that of the tags included, 0.5 to 2.0; 1.0 is the voice's own.
        tags: canonical names of the tags it was made from, in the order of the table.
        pitch: semitones on top of those of the tags, -12 to 12.
        range: factor on the F0 range, on top of those of the tags, 0 to 3.
        energy: gain in dB on top of those of the tags, -20 to 10.
        melody: notes to sing or hum; empty for one that is made up.
        tempo: beats a minute of rap and song, 40 to 240; ``None`` for the usual one.

    Raises:
        InputError: a setting is out of range or has no effect, a tag does not exist or contradicts another.
    """

    speed: float = 1.0
    tags: tuple[str, ...] = ()
    pitch: float = 0.0
    range: float = 1.0
    energy: float = 0.0
    melody: tuple[Note, ...] = ()
    tempo: float | None = None

    def __post_init__(self) -> None:
        tags = [find_tag(tag) for tag in self.tags]
        _check_pairs(tags)
        rate = _rate(tags)
        for name, setting in SETTINGS.items():
            value = getattr(self, name)
            if value is not None and not setting.low <= value <= setting.high:  # false for NaN too
                why = ""
                if name == "speed" and rate != 1.0:
                    why = f", {rate:g} of it by {' and '.join(tag.name for tag in tags if tag.speed != 1)}"
                raise InputError(f"{name} {value:g} is out of range: {setting}{why}")
        self._check_effect(frozenset(tag.name for tag in tags))

    def _check_effect(self, names: frozenset[str]) -> None:
        if self.melody and not names & _SUNG:
            raise InputError("style: melody= needs the tag singing or humming")
        if self.tempo is not None and not names & _TIMED:
            raise InputError("style: tempo= needs the tag rap, singing or humming")
        if self.range != 1.0 and names & (_SUNG | {"whisper"}):
            raise InputError(f"style: range= has no effect on {min(names & (_SUNG | {'whisper'}))}")
        if self.pitch and "whisper" in names:
            raise InputError("style: pitch= has no effect on whisper")

    @property
    def effect(self) -> Effect:
        """All that is done to the speech, tags and settings together; `Effect.rate` is `speed`.

        The notes of a song are moved by ``pitch=`` and the tags of pitch, not by an emotion.
        """
        tags = [find_tag(tag) for tag in self.tags]
        sung = bool(_SUNG & set(self.tags))
        total = Effect(pitch=self.pitch, range=self.range, level=self.energy)
        for tag in tags:
            still = sung and tag.group == "emotion"
            total += replace(tag.effect, pitch=0.0) if still else tag.effect
        return replace(total, rate=self.speed)

    def __str__(self) -> str:
        """Return the style as text that `parse_style` reads back."""
        rate = _rate([find_tag(tag) for tag in self.tags])
        items = [*self.tags]
        if abs(rate - self.speed) >= 1e-9:
            items.append(f"speed={self.speed / rate:.10g}")
        for name in ("pitch", "range", "energy", "tempo"):
            value = getattr(self, name)
            if value != SETTINGS[name].neutral:
                items.append(f"{name}={repr(float(value)).removesuffix('.0')}")
        if self.melody:
            items.append(f"{_MELODY}={' '.join(map(str, self.melody))}")
        return ", ".join(items)


def find_tag(word: str) -> Tag:
    """Return the tag that `word` names, by its name or a synonym.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    tag = _BY_WORD.get(" ".join(word.split()).lower())
    if tag is None:
        names = ", ".join(f"{tag.name} ({tag.synonyms[-1]})" for tag in TAGS)
        raise InputError(f"unknown style tag {word!r}; there are: {names}, {_settings(_ALL)}")
    return tag


def check_tags(style: Style, can: Collection[str], who: str) -> Style:
    """Return `style` when `who` can do all its tags and settings.

    Args:
        style: what is asked.
        can: names of tags and of settings; speed is something that everyone can.
        who: for the message.

    Raises:
        InputError: it cannot do one; the message lists those it can.
    """
    known = ", ".join([*(each.name for each in TAGS if each.name in can), _settings({"speed", *can})])
    for tag in style.tags:
        if tag not in can:
            raise InputError(f"{who} cannot speak in the style {tag!r}; it can: {known}")
    neutral = Style()
    for name in ("pitch", "range", "energy", "tempo", _MELODY):
        if name not in can and getattr(style, name) != getattr(neutral, name):
            raise InputError(f"{who} cannot follow {name}=; it can: {known}")
    return style


def parse_style(text: str) -> Style:
    """Read a style such as ``"slow"``, ``"happy, pitch=2"`` or ``"快速, speed=1.1"``; empty text is neutral.

    Items are separated by commas or semicolons (also ``，``, ``、`` and ``；``), in any order, with or
    without brackets around them. Settings: ``speed=0.5``-``2``, ``pitch=-12``-``12`` (semitones),
    ``range=0``-``3``, ``energy=-20``-``10`` (dB), ``tempo=40``-``240`` (beats a minute) and
    ``melody=C4 D4 E4:2`` (notes, and beats after a colon).

    Raises:
        InputError: a tag is unknown, two contradict each other, a setting is given twice, out of range or
            without effect.
    """
    tags: dict[str, Tag] = {}
    given: dict[str, float] = {}
    melody: tuple[Note, ...] = ()
    for item in re.split(r"[,;，、；()（）\[\]【】]", text):
        key, equals, value = (part.strip() for part in item.partition("="))
        name = key.lower()
        if not key and not equals:
            continue
        if not equals:
            tag = find_tag(key)
            other = tags.setdefault(tag.group, tag)
            if other is not tag:
                raise _contradiction(other, tag)
            continue
        if name not in _ALL:
            raise InputError(f"unknown style setting {key!r}; there are: {_settings(_ALL)}")
        if name in given or (name == _MELODY and melody):
            raise InputError(f"style: {name} is given twice")
        if name == _MELODY:
            melody = parse_melody(value)
        else:
            given[name] = _number(name, value)
    given["speed"] = given.get("speed", 1.0) * _rate(list(tags.values()))
    return Style(tags=tuple(tag.name for tag in TAGS if tag in tags.values()), melody=melody, **given)


_ALL = frozenset(SETTINGS) | {_MELODY}


def _settings(names: Collection[str]) -> str:
    shown = [f"{name}={setting}" for name, setting in SETTINGS.items() if name in names]
    return ", ".join([*shown, *(["melody=C4 D4 E4:2 (notes:beats)"] if _MELODY in names else [])])


def _rate(tags: list[Tag]) -> float:
    rate = 1.0
    for tag in tags:
        rate *= tag.speed
    return rate


def _check_pairs(tags: list[Tag]) -> None:
    for place, tag in enumerate(tags):
        for other in tags[:place]:
            same = other is not tag and other.group == tag.group
            if same or tag.name in other.without or other.name in tag.without:
                raise _contradiction(other, tag)


def _contradiction(one: Tag, other: Tag) -> InputError:
    return InputError(f"style: {one.name!r} and {other.name!r} contradict each other")


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"style: {name}={value} is not a number") from None
