"""nano's mind with an ear: the same language model reads what was heard where words would stand."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.audio import Audio
from stepaudio.errors import NO_SPEECH, InputError
from stepaudio.lm.mind import NanoMind
from stepaudio.lm.prompts import chatml
from stepaudio.lm.prompts.messages import AudioPart, Message, Part, TextPart, user
from stepaudio.results import Reply, Segment

if TYPE_CHECKING:
    from torch import Tensor

    from stepaudio.features.heard import Heard, Hearing
    from stepaudio.lm.adaptor import Adaptor
    from stepaudio.lm.asking import Asking
    from stepaudio.lm.bridge import Bridge
    from stepaudio.lm.generate import Prompt
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.sampling import Grammar
    from stepaudio.lm.tools.use import ToolUser
    from stepaudio.voices import Voice

ADAPTOR = "adaptor.safetensors"
_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
_SOUNDS = 16
"""Sounds that are kept besides those of the conversation at hand."""


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound that was heard.

    Attributes:
        heard: by Whisper, piece by piece.
        words: the likeliest ones.
        embeddings: (n, hidden), what the language model reads.
    """

    heard: "tuple[Heard, ...]"
    words: str
    embeddings: "Tensor"


class HearingMind(NanoMind):
    """A mind whose messages may hold sound; shares its weights with a mind that reads.

    Args:
        folder: of the card ``nano-ear``. Without it words are heard as well, but not how they sound.
        whisper: folder of the card ``whisper-tiny.en``, which hears.
        mind: whose language model it is.
    """

    def __init__(self, folder: Path | None, whisper: Path, mind: NanoMind) -> None:
        super().__init__(mind.folder, mind.manner)
        # What one of them has read, the other need not read again.
        self._read, self._lock = mind._read, mind._lock
        self._ear, self._whisper, self._mind = folder, whisper, mind
        self._heard: dict[str, Sound] = {}
        self._known: dict[int, tuple[str, int]] = {}

    @property
    def model(self) -> "DecoderLM":
        """The language model of the mind that reads."""
        return self._mind.model

    @cached_property
    def adaptor(self) -> "Adaptor | None":
        """From how a sound is to words."""
        from stepaudio.lm.adaptor import load_adaptor

        return None if self._ear is None else load_adaptor(self._ear / ADAPTOR)

    @cached_property
    def asking(self) -> "Asking":
        """What tells which question is asked."""
        from stepaudio.lm.asking import Asking

        return Asking(self.model, self.tokenizer)

    @cached_property
    def hearing(self) -> "Hearing":
        """Whisper."""
        from stepaudio.features.heard import Hearing

        return Hearing(self._whisper, self.manner.cores or 0)

    @cached_property
    def bridge(self) -> "Bridge":
        """From Whisper's words to the language model's."""
        from stepaudio.lm.bridge import Bridge

        return Bridge(self.hearing.tokenizer, self.tokenizer)

    def words(self, audio: Audio) -> str:
        """Return the words of a clip, as they are heard before anything is made of them."""
        return self.listen(audio).words

    def write_down(self, audio: Audio) -> str:
        """Return the words of a clip: of the ways to hear it the one that makes most sense besides."""
        return " ".join(filter(None, map(self._written, self.listen(audio).heard)))

    def _at_once(self, messages: Sequence[Message]) -> str:
        """The answer to a spoken question about how it is said itself, by what was heard.

        Raises:
            InputError: the turn is sound without words.
        """
        from stepaudio.lm.asking import told
        from stepaudio.lm.threads import cores

        self._check_words(messages)
        parts = messages[-1].parts if messages and messages[-1].role == "user" else ()
        if self.adaptor is None or len(parts) != 1 or not isinstance(part := parts[0], AudioPart):
            return ""
        words = self.listen(part.audio).words
        with cores(self.manner.cores):
            matter = self.asking.matter(words) if words else None
        return "" if matter is None else told(matter, self._how(part.audio))

    def ask(self, audio: Audio, question: str, *, seed: int | None = None) -> str:
        """Answer a question about how something is said; see `prompts.questions` for what can be told.

        Any other question is answered as in a conversation.

        Raises:
            InputError: the question is empty, or there is no ear for such things.
        """
        from stepaudio.lm.asking import told
        from stepaudio.lm.threads import cores

        if not question.strip():
            raise InputError("the question is empty")
        shares = self._how(audio)
        with cores(self.manner.cores):
            matter = self.asking.matter(question)
        if matter is not None:
            return told(matter, shares)
        return "".join(self.stream([user(AudioPart(audio), "\n" + question.strip())]))

    def caption(self, audio: Audio, *, seed: int | None = None) -> str:
        """Describe how something is said: the answers to all questions that are known."""
        from stepaudio.lm.asking import told
        from stepaudio.lm.prompts.questions import QUESTIONS

        shares = self._how(audio)
        return " ".join(told(each, shares) for each in QUESTIONS)

    def translate(
        self, audio: Audio, target: str, *, voice: "Voice | None" = None, seed: int | None = None
    ) -> Reply:
        """Nano speaks one language.

        Raises:
            InputError: always.
        """
        raise InputError("nano cannot translate; converted folders of Step-Audio 2 can")

    @property
    def tool_user(self) -> "ToolUser":
        """The one of the mind that reads: tools are chosen and filled in by the likeliest words."""
        return self._mind.tool_user

    def listen(self, audio: Audio) -> Sound:
        """Hear a clip of any length."""
        name = _name(audio)
        if name not in self._heard:
            self._heard[name] = self._sound(audio)
        return self._heard[name]

    def _sound(self, audio: Audio) -> Sound:
        import torch

        from stepaudio.families.listening import quiet_pieces
        from stepaudio.features.heard import RATE
        from stepaudio.lm.bridge import soft_words
        from stepaudio.lm.threads import cores

        with torch.inference_mode(), cores(self.manner.cores):
            heard = [self.hearing(piece.samples) for _, piece in quiet_pieces(audio.resample(RATE))]
            parts = [soft_words(self.model, *self.bridge.mixtures(each)).float() for each in heard]
        embeddings = torch.cat([torch.zeros(0, self.model.config.hidden_size), *parts])
        words = (self.bridge.text(each.words[:, 0].tolist()) for each in heard)
        return Sound(tuple(heard), " ".join(filter(None, words)), embeddings)

    def _how(self, audio: Audio) -> "Tensor":
        """Shares of the words that tell how a sound is, on the whole."""
        import torch

        if self.adaptor is None:
            raise InputError("nano has no ear yet for how something sounds; folders of Step-Audio 2 have")
        manner = np.stack([each.manner for each in self.listen(audio).heard])
        with torch.inference_mode():
            return self.adaptor.shares(torch.from_numpy(manner))

    def _written(self, heard: "Heard") -> str:
        from stepaudio.lm.likelihood import log_likelihoods
        from stepaudio.lm.rescoring import RescoringRules, likeliest_ways
        from stepaudio.lm.threads import cores

        rules = RescoringRules()
        ways = likeliest_ways(heard, rules)
        texts = [self.bridge.text(way.words) for way in ways]
        if len(texts) == 1:
            return texts[0]
        rows = [self.tokenizer.encode(text + chatml.END) for text in texts]
        with cores(self.manner.cores):
            before = self.tokenizer.encode(f"{chatml.START}user\n")
            sense = log_likelihoods(self.model, before, rows)
        both = [way.log_share + rules.language * each for way, each in zip(ways, sense, strict=True)]
        return texts[both.index(max(both))]

    def _check_words(self, messages: Sequence[Message]) -> None:
        parts = messages[-1].parts if messages and messages[-1].role == "user" else ()
        sounds = [part.audio for part in parts if isinstance(part, AudioPart)]
        if sounds and len(sounds) == len(parts) and not any(self.listen(each).words for each in sounds):
            raise InputError(NO_SPEECH)

    def _worded(self, messages: Sequence[Message]) -> list[Message]:
        self._check_words(messages)

        def in_words(part: Part) -> Part:
            return TextPart(self.listen(part.audio).words) if isinstance(part, AudioPart) else part

        return _changed(messages, in_words)

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        sounds: list[Audio] = []

        def in_words(part: Part) -> Part:
            if not isinstance(part, AudioPart):
                return TextPart(part.text.replace(_MARK, "")) if isinstance(part, TextPart) else part
            sounds.append(part.audio)
            return TextPart(_MARK)

        pieces = chatml.render(_changed(messages, in_words)).split(_MARK)
        ids = self.tokenizer.encode(pieces[0])
        for audio, piece in zip(sounds, pieces[1:], strict=True):
            ids += self._hear(audio)
            ids += self.tokenizer.encode(piece)
        self._forget({_name(audio) for audio in sounds})
        return ids

    def _forget(self, needed: set[str]) -> None:
        """Let the oldest sounds go that this conversation does not have."""
        others = [name for name in self._heard if name not in needed]
        gone = set(others[: max(0, len(self._heard) - _SOUNDS)])
        self._heard = {name: sound for name, sound in self._heard.items() if name not in gone}
        self._known = {key: place for key, place in self._known.items() if place[0] not in gone}

    def _hear(self, audio: Audio) -> list[int]:
        """Ids below 0 that stand for the places of a sound: the same for the same sound."""
        sound, name = self.listen(audio), _name(audio)
        first = -(int(name, 16) << 12) - 1
        ids = [first - place for place in range(len(sound.embeddings))]
        self._known.update((key, (name, place)) for place, key in enumerate(ids))
        return ids

    def _prompt(self, ids: Sequence[int], seed: int | None, grammar: "Grammar | None") -> "Prompt":
        import torch

        from stepaudio.lm.generate import Prompt

        words = self.model.embed(torch.tensor([max(i, 0) for i in ids]))
        for place, key in enumerate(ids):
            if key < 0:
                name, at = self._known[key]
                words[place] = self._heard[name].embeddings[at]
        return Prompt([i for i in ids if i >= 0], embeds=words, seed=seed, grammar=grammar)


class HearingEars:
    """Recognition by the language model itself.

    Args:
        mind: that hears.
    """

    def __init__(self, mind: HearingMind) -> None:
        self._mind = mind

    def load(self) -> object:
        """Read the weights, which otherwise happens at first use."""
        self._mind.load()
        if self._mind.adaptor is not None:
            self._mind.asking.load()
        return self._mind.hearing

    def transcribe(self, audio: Audio, language: str | None = None) -> Iterator[Segment]:
        """Yield a segment for each stretch of at most 25 s.

        Raises:
            InputError: another language than English.
        """
        from stepaudio.families.listening import transcribe_pieces

        if language not in (None, "en"):
            raise InputError(f"language {language!r} is not one this model hears; it knows: en")
        yield from transcribe_pieces(audio, self._mind.write_down)


def _changed(messages: Sequence[Message], change: Callable[[Part], Part]) -> list[Message]:
    """The conversation with every part changed."""
    return [
        message
        if message.content is None
        else Message(message.role, tuple(map(change, message.parts)), message.closed)
        for message in messages
    ]


def _name(audio: Audio) -> str:
    return hashlib.blake2b(audio.samples.tobytes(), digest_size=6).hexdigest()
