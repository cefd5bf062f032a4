"""nano's mind with an ear: the same language model, with an adapter, reads sound where words would stand."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.audio import Audio
from stepaudio.lm.mind import NanoMind
from stepaudio.lm.prompts import chatml
from stepaudio.lm.prompts.listening import WRITE_DOWN
from stepaudio.lm.prompts.messages import AudioPart, Message, Part, TextPart, user
from stepaudio.results import Segment

if TYPE_CHECKING:
    from torch import Tensor

    from stepaudio.features.whisper import WhisperFeatures
    from stepaudio.lm.adaptor import Adaptor
    from stepaudio.lm.generate import Prompt
    from stepaudio.lm.lexicon import Lexicon
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.sampling import Grammar

ADAPTOR, ADAPTER, LEXICON = "adaptor.safetensors", "adapter.safetensors", "lexicon.txt"
_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
_SOUNDS = 16
"""Sounds whose embeddings are kept: those of a long conversation."""
MARKS = ".,?!"
WORDS_A_SECOND = 8
"""More than anybody says: what is written down ends there, should the model not end it."""


class HearingMind(NanoMind):
    """A mind whose messages may hold sound; shares its weights with a mind that reads.

    Args:
        folder: of the card ``nano-ear``: adaptor, adapter, and with a lexicon what `write_down` searches by.
        whisper: folder of the card ``whisper-tiny.en``, whose encoder hears.
        mind: whose language model it is.
    """

    def __init__(self, folder: Path, whisper: Path, mind: NanoMind) -> None:
        super().__init__(mind.folder, mind.manner)
        self._ear, self._whisper, self._mind = folder, whisper, mind
        self._heard: dict[str, Tensor] = {}
        self._known: dict[int, tuple[str, int]] = {}

    @cached_property
    def model(self) -> "DecoderLM":
        """The language model with the adapter put on."""
        from stepaudio.lm.lowrank import Adapter, adapted

        plain = self._mind.model
        return adapted(plain, Adapter.load(self._ear / ADAPTER, plain.config))

    @cached_property
    def adaptor(self) -> "Adaptor":
        """From the encoder's features to embeddings."""
        from stepaudio.lm.adaptor import load_adaptor

        return load_adaptor(self._ear / ADAPTOR)

    @cached_property
    def encoder(self) -> "WhisperFeatures":
        """The encoder."""
        from stepaudio.features.whisper import WhisperFeatures

        return WhisperFeatures(self._whisper, self.manner.cores or 0)

    @cached_property
    def lexicon(self) -> "Lexicon | None":
        """The words that can be written down by their letters, if the folder has any."""
        from stepaudio.lm.adaptor import CHARACTERS
        from stepaudio.lm.lexicon import Lexicon, read_lexicon

        path = self._ear / LEXICON
        return Lexicon(read_lexicon(path), CHARACTERS[1:], self.tokenizer) if path.is_file() else None

    def write_down(self, audio: Audio) -> str:
        """Return the words of a clip of at most 28 s.

        With a lexicon, the words that language and spelling find likeliest together; without, what the
        language model writes on hearing the embeddings.
        """
        from stepaudio.lm.text import finish_text, push_text, start_text

        if self.lexicon is not None:
            return self._search(audio, self.lexicon)
        most = 8 + round(audio.seconds * WORDS_A_SECOND)
        ids = self._encode([user(AudioPart(audio), WRITE_DOWN)])
        text = start_text(self.tokenizer)
        said = "".join(push_text(text, [token]) for token in self.ids(ids, max_new_tokens=most))
        return (said + finish_text(text)).strip()

    def _search(self, audio: Audio, lexicon: "Lexicon") -> str:
        """Write down in the user's turn, where the language model expects what users say."""
        import torch

        from stepaudio.lm.adaptor import without_breaks
        from stepaudio.lm.joint import JointRules, write_down
        from stepaudio.lm.prompts.listening import heard_turn
        from stepaudio.lm.threads import cores

        model, encode = self._mind.model, self.tokenizer.encode
        sounds = without_breaks(self._adapted(audio)[1]).numpy()
        rules = JointRules(marks=tuple(encode(mark)[0] for mark in MARKS))
        with torch.inference_mode(), cores(self.manner.cores):
            cache = model.new_cache()
            before = torch.tensor([heard_turn(self.tokenizer).before], device=model.device)
            logits = model(before, cache=cache, last_only=True)[0, -1]
            (end,) = encode(chatml.END)
            return self.tokenizer.decode(
                write_down(model, cache, logits, sounds, lexicon, end, rules)
            ).strip()

    def embeddings(self, audio: Audio) -> "Tensor":
        """Return (T, hidden) of a clip: 12.5 a second."""
        return self._adapted(audio)[0]

    def _adapted(self, audio: Audio) -> "tuple[Tensor, Tensor]":
        """Embeddings of a clip, and the logits of its spelling."""
        import torch

        from stepaudio.features.whisper import HOP, RATE
        from stepaudio.lm.adaptor import FRAMES_PER_EMBEDDING
        from stepaudio.lm.threads import cores

        samples = audio.resample(RATE).samples
        frames = -(-len(samples) // (HOP * FRAMES_PER_EMBEDDING)) * FRAMES_PER_EMBEDDING
        features = torch.from_numpy(self.encoder(samples)[:frames])
        with torch.inference_mode(), cores(self.manner.cores):
            embeddings, spelling = self.adaptor(features[None])
        return embeddings[0], spelling[0]

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        sounds: list[Audio] = []

        def in_words(part: Part) -> Part:
            if not isinstance(part, AudioPart):
                return TextPart(part.text.replace(_MARK, "")) if isinstance(part, TextPart) else part
            sounds.append(part.audio)
            return TextPart(_MARK)

        turns = [
            message
            if message.content is None
            else Message(message.role, tuple(map(in_words, message.parts)), message.closed)
            for message in messages
        ]
        pieces = chatml.render(turns).split(_MARK)
        ids = self.tokenizer.encode(pieces[0])
        for audio, piece in zip(sounds, pieces[1:], strict=True):
            ids += self._hear(audio)
            ids += self.tokenizer.encode(piece)
        return ids

    def _hear(self, audio: Audio) -> list[int]:
        """Ids below 0 that stand for the places of a sound: the same for the same sound."""
        name = hashlib.blake2b(audio.samples.tobytes(), digest_size=6).hexdigest()
        if name not in self._heard:
            while len(self._heard) >= _SOUNDS:
                gone = next(iter(self._heard))
                del self._heard[gone]
                self._known = {key: place for key, place in self._known.items() if place[0] != gone}
            self._heard[name] = self.embeddings(audio)
        first = -(int(name, 16) << 12) - 1
        ids = [first - place for place in range(len(self._heard[name]))]
        self._known.update((key, (name, place)) for place, key in enumerate(ids))
        return ids

    def _prompt(self, ids: Sequence[int], seed: int | None, grammar: "Grammar | None") -> "Prompt":
        import torch

        from stepaudio.lm.generate import Prompt

        words = self.model.embed(torch.tensor([max(i, 0) for i in ids]))
        for place, key in enumerate(ids):
            if key < 0:
                name, at = self._known[key]
                words[place] = self._heard[name][at]
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
        return self._mind.model, self._mind.adaptor, self._mind.encoder

    def transcribe(self, audio: Audio, language: str | None = None) -> Iterator[Segment]:
        """Yield a segment for each stretch of at most 25 s.

        Raises:
            InputError: another language than English.
        """
        from stepaudio.errors import InputError
        from stepaudio.families.listening import transcribe_pieces

        if language not in (None, "en"):
            raise InputError(f"language {language!r} is not one this model hears; it knows: en")
        yield from transcribe_pieces(audio, self._mind.write_down)
