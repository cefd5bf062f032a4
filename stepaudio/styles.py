"""How something is said: tags and settings, parsed strictly, in one table that every family reads.

A tag is listed only when it has an effect; what a mouth cannot do is an error, never silently ignored.
"""

import re
from collections.abc import Mapping
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
    Tag("very slow", ("very slowly", "非常慢", "很慢"), "rate", speed=0.65),
    Tag("slow", ("slowly", "慢速", "慢"), "rate", speed=0.8),
    Tag("fast", ("quick", "quickly", "快速", "快"), "rate", speed=1.25),
    Tag("very fast", ("very quick", "非常快", "很快"), "rate", speed=1.5),
)


def _index(tags: tuple[Tag, ...]) -> Mapping[str, Tag]:
    return MappingProxyType({word: tag for tag in tags for word in (tag.name, *tag.synonyms)})


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
