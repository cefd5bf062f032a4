"""The ids that carry meaning in Step-Audio 2's vocabulary, resolved by string, never assumed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepaudio.errors import ModelError

if TYPE_CHECKING:
    from stepaudio.lm.text import TextTokenizer

CODEBOOK_SIZE = 6561  # S3 v2: 3**8 codes; the id after the last one is padding
AUDIO_START, AUDIO_PATCH, AUDIO_END = "<audio_start>", "<audio_patch>", "<audio_end>"
TTS_START, TTS_END, TTS_PAD = "<tts_start>", "<tts_end>", "<tts_pad>"
BOT, EOT = "<|BOT|>", "<|EOT|>"


@dataclass(frozen=True)
class Vocabulary:
    """Special ids of a model that reads features and writes text and codes.

    Attributes:
        audio_start: the features of a clip overwrite the positions after it.
        audio_patch: placeholder for one feature frame.
        audio_end: end of the placeholders.
        tts_start: opens a spoken reply (text and codes interleaved).
        tts_end: closes it.
        tts_pad: fills the text side once the text has run out.
        first_code: id of code 0; code k is ``first_code + k``.
        codes: codebook size; ``first_code + codes`` is the padding of the audio side.
        stop: ids that end a turn.
    """

    audio_start: int
    audio_patch: int
    audio_end: int
    tts_start: int
    tts_end: int
    tts_pad: int
    first_code: int
    stop: frozenset[int]
    codes: int = CODEBOOK_SIZE

    def __post_init__(self) -> None:
        special = (
            self.audio_start,
            self.audio_patch,
            self.audio_end,
            self.tts_start,
            self.tts_end,
            self.tts_pad,
        )
        if len(set(special)) != len(special) or max(special) >= self.first_code or min(special) < 0:
            raise ModelError(
                "the special ids of the vocabulary must be distinct and lie below the audio codes"
            )

    @property
    def code_padding(self) -> int:
        """The id that pads the audio side of the interleave."""
        return self.first_code + self.codes

    @property
    def first_special(self) -> int:
        """The first id that is not text: text < first_special <= special < first_code <= audio."""
        return min(
            self.audio_start, self.audio_patch, self.audio_end, self.tts_start, self.tts_end, self.tts_pad
        )

    def is_text(self, token: int) -> bool:
        """Whether `token` is text."""
        return token < self.first_special

    def code(self, token: int) -> int | None:
        """Return the code `token` stands for; ``None`` for text, specials and padding."""
        code = token - self.first_code
        return code if 0 <= code < self.codes else None

    @classmethod
    def from_tokenizer(cls, tokenizer: "TextTokenizer", *, stop: Iterable[str] = (EOT,)) -> "Vocabulary":
        """Look every special up by its string.

        Raises:
            ModelError: the tokenizer lacks one, or its codes are not consecutive.
        """
        find = tokenizer.token_id
        first, padding = find("<audio_0>"), find(f"<audio_{CODEBOOK_SIZE}>")
        if padding - first != CODEBOOK_SIZE:
            raise ModelError(f"the tokenizer's audio codes are not consecutive ({first} to {padding})")
        return cls(
            audio_start=find(AUDIO_START),
            audio_patch=find(AUDIO_PATCH),
            audio_end=find(AUDIO_END),
            tts_start=find(TTS_START),
            tts_end=find(TTS_END),
            tts_pad=find(TTS_PAD),
            first_code=first,
            stop=frozenset(find(piece) for piece in stop),
        )
