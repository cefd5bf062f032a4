"""A family whose mouth, and partner if it has one, mark all that they say."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stepaudio.audio import Audio, concat
from stepaudio.cancel import CancelToken
from stepaudio.families.base import Answer, Family, Mouth, Partner
from stepaudio.watermark.mark import Watermark

if TYPE_CHECKING:
    from stepaudio.lm.prompts.messages import Message
    from stepaudio.styles import Style
    from stepaudio.voices import Voice


class MarkedMouth:
    """A mouth that marks each clause."""

    def __init__(self, mouth: Mouth, watermark: Watermark):
        self._mouth = mouth
        self._watermark = watermark
        self.sample_rate = mouth.sample_rate
        self.languages = mouth.languages

    @property
    def default_voice(self) -> str:
        """See `Mouth`."""
        return self._mouth.default_voice

    def load(self) -> object:
        """Read the weights of both."""
        self._watermark.load()
        return self._mouth.load()

    def voice(self, name: str) -> "Voice":
        """See `Mouth`."""
        return self._mouth.voice(name)

    def speak(self, text: str, *, voice: "Voice", style: "Style", seed: int | None = None) -> Iterator[Audio]:
        """Yield the marked speech of one clause."""
        yield from self._watermark.run(self._mouth.speak(text, voice=voice, style=style, seed=seed))


class MarkedPartner:
    """A partner whose spoken replies are marked."""

    def __init__(self, partner: Partner, watermark: Watermark):
        self._partner = partner
        self._watermark = watermark
        self.keeps_sound = partner.keeps_sound
        self.uses_tools = partner.uses_tools
        self.result_instruction = partner.result_instruction

    def answer(
        self,
        messages: "Sequence[Message]",
        *,
        voice: "Voice",
        style: "Style",
        seed: int | None = None,
        cancel: CancelToken | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Iterator[Answer]:
        """Yield the reply in pieces; the end of its sound comes after the last of them."""
        state = self._watermark.start()
        said = self._partner.answer(messages, voice=voice, style=style, seed=seed, cancel=cancel, tools=tools)
        for piece in said:
            if piece.audio is None:
                yield piece
                continue
            chunks = list(self._watermark.push(state, piece.audio))
            yield replace(piece, audio=concat(chunks) if chunks else None)
        yield from (Answer(audio=chunk) for chunk in self._watermark.finish(state))


def marked(family: Family, watermark: Watermark) -> Family:
    """Return the family with a marked mouth and partner."""
    partner = None if family.partner is None else MarkedPartner(family.partner, watermark)
    return replace(family, mouth=MarkedMouth(family.mouth, watermark), partner=partner)
