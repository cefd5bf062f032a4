"""How something is said: tags and settings, parsed strictly, in one table that every family reads.

A tag is listed only when it has an effect; what a mouth cannot do is an error, never silently ignored.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stepaudio.errors import InputError

MIN_SPEED = 0.5
MAX_SPEED = 2.0


@dataclass(frozen=True)
class Tag:
    """One style tag.

    Attributes:
        name: the canonical name, lower-case English.
        synonyms: other ways to write it, in any language.
        group: two different tags of one group contradict each other.
        speed: factor on the speaking rate.
    """

    name: str
    synonyms: tuple[str, ...]
    group: str
    speed: float = 1.0


TAGS: tuple[Tag, ...] = (
    Tag("rap", ("RAP", "说唱"), "singing"),
    Tag("humming", ("hum", "哼唱"), "singing"),
    Tag("happy", ("高兴", "高兴1"), "emotion"),
    Tag("very happy", ("高兴2",), "emotion"),
    Tag("angry", ("生气", "生气1"), "emotion"),
    Tag("very angry", ("生气2",), "emotion"),
    Tag("sad", ("悲伤", "悲伤1"), "emotion"),
    Tag("coquettish", ("撒娇", "撒娇1"), "emotion"),
    Tag("chinese", ("mandarin", "中文"), "language"),
    Tag("english", ("英文",), "language"),
    Tag("korean", ("韩语",), "language"),
    Tag("japanese", ("日语",), "language"),
    Tag("sichuanese", ("四川话",), "language"),
    Tag("cantonese", ("粤语",), "language"),
    Tag("guangdong", ("广东话",), "language"),
    Tag("very slow", ("very slowly", "慢速2", "非常慢", "很慢"), "rate", speed=0.65),
    Tag("slow", ("slowly", "慢速1", "慢速", "慢"), "rate", speed=0.8),
    Tag("fast", ("quick", "quickly", "快速1", "快速", "快"), "rate", speed=1.25),
    Tag("very fast", ("very quick", "快速2", "非常快", "很快"), "rate", speed=1.5),
)
# What every mouth does: it speaks slower or faster.
RATE_TAGS = frozenset(tag.name for tag in TAGS if tag.group == "rate")


def _index(tags: tuple[Tag, ...]) -> Mapping[str, Tag]:
    return MappingProxyType({word.lower(): tag for tag in tags for word in (tag.name, *tag.synonyms)})


_BY_WORD = _index(TAGS)


@dataclass(frozen=True)
class Style:
    """A style as a mouth takes it.

    Attributes:
        speed: factor on the speaking rate, 0.5 to 2.0; 1.0 is the voice's own.
        tags: canonical names of the tags it was made from, in the order of the table.

    Raises:
        InputError: the speed is out of range, or a tag does not exist.
    """

    speed: float = 1.0
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not MIN_SPEED <= self.speed <= MAX_SPEED:  # false for NaN too
            raise InputError(f"speed {self.speed:g} is out of range: {MIN_SPEED:g} to {MAX_SPEED:g}")
        for tag in self.tags:
            find_tag(tag)

    def __str__(self) -> str:
        """Return the style as text that `parse_style` reads back."""
        rate = 1.0
        for tag in self.tags:
            rate *= find_tag(tag).speed
        explicit = [] if abs(rate - self.speed) < 1e-9 else [f"speed={self.speed / rate:.10g}"]
        return ", ".join([*self.tags, *explicit])


def find_tag(word: str) -> Tag:
    """Return the tag that `word` names, by its name or a synonym.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    tag = _BY_WORD.get(" ".join(word.split()).lower())
    if tag is None:
        names = ", ".join(f"{tag.name} ({tag.synonyms[-1]})" for tag in TAGS)
        raise InputError(f"unknown style tag {word!r}; there are: {names}, speed=0.5 to speed=2.0")
    return tag


def check_tags(style: Style, can: Collection[str], who: str) -> Style:
    """Return `style` when `who` can do all its tags.

    Raises:
        InputError: it cannot do one; the message lists those it can.
    """
    for tag in style.tags:
        if tag not in can:
            known = ", ".join(each.name for each in TAGS if each.name in can)
            raise InputError(f"{who} cannot speak in the style {tag!r}; it can: {known}, speed=0.5 to 2.0")
    return style


def parse_style(text: str) -> Style:
    """Read a style such as ``"slow"``, ``"speed=1.2"`` or ``"快速, speed=1.1"``; empty text is neutral.

    Items are separated by commas or semicolons (also ``，``, ``、`` and ``；``), in any order, with or
    without brackets around them.

    Raises:
        InputError: a tag is unknown, two contradict each other, a setting is given twice or out of range.
    """
    tags: dict[str, Tag] = {}
    speed: float | None = None
    for item in re.split(r"[,;，、；()（）\[\]【】]", text):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not key and not equals:
            continue
        if equals:
            if key.lower() != "speed":
                raise InputError(f"unknown style setting {key!r}; there is: speed")
            if speed is not None:
                raise InputError("style: speed is given twice")
            speed = _number(value)
            continue
        tag = find_tag(key)
        other = tags.setdefault(tag.group, tag)
        if other is not tag:
            raise InputError(f"style: {other.name!r} and {tag.name!r} contradict each other")
    rate = 1.0 if speed is None else speed
    for tag in tags.values():
        rate *= tag.speed
    return Style(speed=rate, tags=tuple(tag.name for tag in TAGS if tag in tags.values()))


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"style: speed={value} is not a number") from None
