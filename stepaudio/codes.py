"""The two codebooks, their 2:3 interleave, token ids and text: pure functions, no models.

Stream A, *linguistic*, has 1024 codes at 16.67 Hz; stream B, *semantic*, has 4096 at 25 Hz. Two of A and
three of B cover the same 120 ms, so the language model sees groups A A B B B over one joint index: A is
0..1023, B is 1024..5119.

**The tail.** Clips rarely end on a whole group. The official tokenizer drops what is left of both streams,
up to one group (120 ms) and more where one stream is the longer. Here the default, ``tail="keep"``, goes on
with the same walk - up to two of A, then up to three of B, until both are used up - so the last groups are
merely short. Since an index says which stream it belongs to, nothing else is needed to take the streams
apart again, and ``tail="drop"`` is always a prefix of ``tail="keep"``. Keep is the default because encoding,
storing and decoding a clip must not shorten it; prompts for the official checkpoints, which never saw a
short group in training, use drop.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stepaudio.errors import InputError

Tail = Literal["keep", "drop"]

LINGUISTIC_SIZE = 1024
SEMANTIC_SIZE = 4096
LINGUISTIC_RATE = 50 / 3
"""Linguistic codes a second."""
SEMANTIC_RATE = 25.0
"""Semantic codes a second."""
GROUP = (2, 3)
"""Linguistic and semantic codes in one group of 120 ms."""
GROUP_S = 0.12
"""Seconds of a group."""


def interleave(linguistic: Sequence[int], semantic: Sequence[int], *, tail: Tail = "keep") -> list[int]:
    """Joint indices of both streams in the order the language model reads them.

    Args:
        linguistic: codes 0..1023 at 16.67 Hz.
        semantic: codes 0..4095 at 25 Hz.
        tail: ``keep`` ends with short groups, ``drop`` keeps whole groups only (see the module).

    Raises:
        InputError: if a code lies outside its codebook.
    """
    _check("linguistic code", linguistic, LINGUISTIC_SIZE)
    _check("semantic code", semantic, SEMANTIC_SIZE)
    if tail == "drop":
        groups = min(len(linguistic) // GROUP[0], len(semantic) // GROUP[1])
    else:
        groups = max(-(-len(linguistic) // GROUP[0]), -(-len(semantic) // GROUP[1]))
    indices: list[int] = []
    for group in range(groups):
        indices.extend(linguistic[group * GROUP[0] : (group + 1) * GROUP[0]])
        indices.extend(LINGUISTIC_SIZE + code for code in semantic[group * GROUP[1] : (group + 1) * GROUP[1]])
    return indices


def deinterleave(indices: Sequence[int], *, strict: bool = True) -> tuple[list[int], list[int]]:
    """Take joint indices apart into linguistic and semantic codes; the inverse of :func:`interleave`.

    Args:
        indices: joint indices 0..5119.
        strict: refuse an order that :func:`interleave` would not give. Without it the streams are
            told apart by range alone, which is right for the output of a language model that slipped.

    Raises:
        InputError: if an index is out of range or, when strict, out of order.
    """
    _check("audio index", indices, STEP_AUDIO.size)
    linguistic = [index for index in indices if index < LINGUISTIC_SIZE]
    semantic = [index - LINGUISTIC_SIZE for index in indices if index >= LINGUISTIC_SIZE]
    if strict:
        expected = interleave(linguistic, semantic)
        for position, (index, wanted) in enumerate(zip(indices, expected, strict=True)):
            if index != wanted:
                raise InputError(f"audio index {index} at position {position} breaks the 2:3 interleave")
    return linguistic, semantic


@dataclass
class Interleaver:
    """:func:`interleave` for streams that arrive bit by bit; one instance is the state of one stream.

    Attributes:
        linguistic: codes that wait for their group to fill.
        semantic: as ``linguistic``.
    """

    linguistic: list[int] = field(default_factory=list)
    semantic: list[int] = field(default_factory=list)

    def push(self, linguistic: Sequence[int], semantic: Sequence[int]) -> list[int]:
        """Joint indices of the groups that became whole.

        Raises:
            InputError: as :func:`interleave`.
        """
        self.linguistic += linguistic
        self.semantic += semantic
        joint = interleave(self.linguistic, self.semantic, tail="drop")
        groups = len(joint) // sum(GROUP)
        del self.linguistic[: groups * GROUP[0]], self.semantic[: groups * GROUP[1]]
        return joint

    def finish(self, *, tail: Tail = "keep") -> list[int]:
        """Joint indices of the rest, in short groups; none with ``tail="drop"``."""
        joint = interleave(self.linguistic, self.semantic, tail=tail)
        self.linguistic, self.semantic = [], []
        return joint


@dataclass(frozen=True)
class AudioVocabulary:
    """Audio tokens inside a language model's vocabulary.

    Attributes:
        first_id: language model id of audio index 0.
        size: number of audio indices.
        padding: index that stands for "no sound here", or ``None``; it has an id but is not sound.
    """

    first_id: int
    size: int
    padding: int | None = None

    def to_ids(self, indices: Iterable[int]) -> list[int]:
        """Language model ids of audio indices.

        Raises:
            InputError: if an index is out of range.
        """
        indices = list(indices)
        _check("audio index", indices, self._end)
        return [self.first_id + index for index in indices]

    def from_ids(self, ids: Iterable[int]) -> list[int]:
        """Audio indices (padding left out) of ids that must all be audio tokens.

        Raises:
            InputError: if an id is not an audio token.
        """
        indices = [token - self.first_id for token in ids]
        for index in indices:
            if not 0 <= index < self._end:
                last = self.first_id + self._end - 1
                raise InputError(
                    f"id {index + self.first_id} is not an audio token ({self.first_id}..{last})"
                )
        return [index for index in indices if index != self.padding]

    def pick(self, ids: Iterable[int]) -> list[int]:
        """Audio indices among mixed ids: text, control and padding ids are left out."""
        return [token - self.first_id for token in ids if 0 <= token - self.first_id < self.size]

    def to_text(self, indices: Iterable[int]) -> str:
        """``<audio_N>`` strings without separator, as the prompts carry them.

        Raises:
            InputError: if an index is out of range.
        """
        indices = list(indices)
        _check("audio index", indices, self._end)
        return "".join(f"<audio_{index}>" for index in indices)

    def from_text(self, text: str) -> list[int]:
        """Audio indices (padding left out) of a string of ``<audio_N>`` and nothing else.

        Raises:
            InputError: if something else stands in the text or an index is out of range.
        """
        indices: list[int] = []
        position = 0
        for match in _AUDIO_TOKEN.finditer(text):
            if match.start() != position:
                break
            indices.append(int(match[1]))
            position = match.end()
        if position != len(text):
            raise InputError(f"expected <audio_N> at character {position}, found {text[position:][:20]!r}")
        _check("audio index", indices, self._end)
        return [index for index in indices if index != self.padding]

    @property
    def _end(self) -> int:
        return self.size if self.padding is None else max(self.size, self.padding + 1)


_AUDIO_TOKEN = re.compile(r"<audio_(0|[1-9][0-9]{0,5})>")

STEP_AUDIO = AudioVocabulary(first_id=65536, size=LINGUISTIC_SIZE + SEMANTIC_SIZE)
"""Step-Audio (and nano): the joint index of both codebooks, ids 65536..70655."""
STEP_AUDIO_2 = AudioVocabulary(first_id=151696, size=3**8, padding=3**8)
"""Step-Audio 2: codes of the S3 tokenizer v2, ids 151696..158256, and padding 6561."""


@dataclass(frozen=True)
class Codes:
    """Both code streams of one clip.

    Attributes:
        linguistic: codes 0..1023 at 16.67 Hz.
        semantic: codes 0..4095 at 25 Hz.
        seconds: length of the sound the codes were made from.
    """

    linguistic: tuple[int, ...]
    semantic: tuple[int, ...]
    seconds: float

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: if a code lies outside its codebook or the length is negative.
        """
        _check("linguistic code", self.linguistic, LINGUISTIC_SIZE)
        _check("semantic code", self.semantic, SEMANTIC_SIZE)
        if not self.seconds >= 0:
            raise InputError(f"codes cannot stand for {self.seconds} seconds")

    @classmethod
    def from_interleaved(
        cls, indices: Sequence[int], seconds: float | None = None, *, strict: bool = True
    ) -> "Codes":
        """Codes of joint indices; without ``seconds`` the longer stream gives the length.

        Raises:
            InputError: as :func:`deinterleave`.
        """
        linguistic, semantic = deinterleave(indices, strict=strict)
        if seconds is None:
            seconds = max(len(linguistic) / LINGUISTIC_RATE, len(semantic) / SEMANTIC_RATE)
        return cls(tuple(linguistic), tuple(semantic), seconds)

    def interleaved(self, *, tail: Tail = "keep") -> list[int]:
        """Joint indices 0..5119, see :func:`interleave`."""
        return interleave(self.linguistic, self.semantic, tail=tail)

    def to_json(self) -> dict[str, Any]:
        """What ``stepaudio tokens encode`` writes; :meth:`from_json` reads it."""
        return {
            "linguistic": list(self.linguistic),
            "semantic": list(self.semantic),
            "interleaved": self.interleaved(),
            "seconds": round(self.seconds, 6),
            "rates": [round(LINGUISTIC_RATE, 2), round(SEMANTIC_RATE)],
        }

    @classmethod
    def from_json(cls, data: object) -> "Codes":
        """Read the object of :meth:`to_json`; either both streams or ``interleaved`` may be missing.

        Raises:
            InputError: if a key is unknown, missing, of the wrong type or out of range, or if the
                streams and ``interleaved`` disagree.
        """
        if not isinstance(data, Mapping):
            raise InputError("codes must be a JSON object with linguistic and semantic codes")
        if unknown := set(data) - {"linguistic", "semantic", "interleaved", "seconds", "rates"}:
            raise InputError(f"codes have unknown keys: {', '.join(sorted(map(str, unknown)))}")
        joint = _integers(data, "interleaved") if "interleaved" in data else None
        seconds = data.get("seconds")
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
            raise InputError("seconds must be a number")
        if "linguistic" in data or "semantic" in data:
            streams = _integers(data, "linguistic"), _integers(data, "semantic")
            if joint is not None and joint not in (interleave(*streams), interleave(*streams, tail="drop")):
                raise InputError("interleaved does not agree with linguistic and semantic")
            joint = interleave(*streams)
        if joint is None:
            raise InputError("codes need linguistic and semantic, or interleaved")
        return cls.from_interleaved(joint, seconds)


def _integers(data: Mapping[str, Any], key: str) -> list[int]:
    values = data.get(key)
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise InputError(f"{key} must be a list of integers")
    return values


def _check(what: str, values: Iterable[int], size: int) -> None:
    for position, value in enumerate(values):
        if not 0 <= value < size:
            raise InputError(f"{what} {value} at position {position} is not in 0..{size - 1}")
