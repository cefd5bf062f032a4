"""Step-Audio 2's model here: a clip is encoded once, conversations continue one KV cache, ids are legal."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stepaudio.cancel import CancelToken
from stepaudio.convert.language import read_encoder
from stepaudio.encoder import SpeechEncoder, inject
from stepaudio.errors import ModelError
from stepaudio.lm.cache import KVCache
from stepaudio.lm.generate import Limits, Prompt, generate_ids
from stepaudio.lm.prompts import step2
from stepaudio.lm.prompts.ta4 import AUDIO_PER_TEXT
from stepaudio.lm.prompts.tasks import TaskSampling
from stepaudio.lm.prompts.vocabulary import BOT, Vocabulary
from stepaudio.lm.sampling import IdSet, Phase, Sampling
from stepaudio.lm.text import load_text_tokenizer
from stepaudio.lm.weights import load_lm, read_weights

if TYPE_CHECKING:
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.text import TextTokenizer

_ENCODER_KEYS = ("encoder.", "adapter.")
_CLIPS = 64  # clips whose features are kept: the sounds of a long conversation


class Ta4Grammar:
    """What may come next in a reply of Step-Audio 2.

    Speech is one text id and four codes, again and again, until ``<tts_end>``; after it come words.

    Args:
        vocabulary: the special ids.
        vocab_size: rows of the model's head.
        bot: opens a turn; never legal inside one.
        stops: ids that end the reply.
    """

    def __init__(self, vocabulary: Vocabulary, vocab_size: int, bot: int, stops: frozenset[int]):
        first = vocabulary.first_special
        words = IdSet(((0, bot), (bot + 1, first)))
        ends = IdSet(singles=tuple(stop for stop in sorted(stops) if stop < vocab_size))
        codes = IdSet(((vocabulary.first_code, vocabulary.code_padding + 1),))
        spoken = words | IdSet(singles=(vocabulary.tts_pad, vocabulary.tts_end))
        self._end = vocabulary.tts_end
        self._words = Phase("text", (words | ends).mask(vocab_size))
        self._spoken = Phase("spoken text", (spoken | ends).mask(vocab_size))
        self._codes = Phase("audio", codes.mask(vocab_size))

    def speech(self, generated: Sequence[int]) -> Phase:
        """Return what may come after `generated` in a spoken reply."""
        if self._end in generated:
            return self._words
        return self._codes if len(generated) % (1 + AUDIO_PER_TEXT) else self._spoken

    def text(self, generated: Sequence[int]) -> Phase:
        """Return what may come in a written reply."""
        return self._words


@dataclass(frozen=True)
class _Way:
    """One of the grammar's two ways, as the engine takes it."""

    grammar: Ta4Grammar
    speech: bool

    def phase(self, generated: Sequence[int]) -> Phase:
        return self.grammar.speech(generated) if self.speech else self.grammar.text(generated)


@dataclass
class _Read:
    """What the KV cache holds: a key for each position, ids drawn after the prompt included."""

    cache: KVCache
    keys: list[object]
    drawn: list[int] = field(default_factory=list)

    def shared(self, keys: Sequence[object]) -> int:
        """Return how many leading positions of `keys` are in the cache; never all of them."""
        held = [*self.keys, *self.drawn][: self.cache.lengths[0]]
        pairs = zip(held, keys[:-1], strict=False)
        return next((i for i, (old, new) in enumerate(pairs) if old != new), min(len(held), len(keys) - 1))


class Step2Model:
    """One Step-Audio 2 folder; weights and tokenizer are read at first use. One reply at a time.

    Args:
        folder: ``config.json``, safetensors and the tokenizer's files.
        device: where it runs.
    """

    def __init__(self, folder: Path, *, device: str = "cpu"):
        self.folder = folder
        self.device = device
        self._features: OrderedDict[str, Tensor] = OrderedDict()
        self._read: _Read | None = None

    @cached_property
    def tokenizer(self) -> "TextTokenizer":
        """The text tokenizer."""
        return load_text_tokenizer(self.folder)

    @cached_property
    def lm(self) -> "DecoderLM":
        """The language model in the type its weights are stored in."""
        return load_lm(self.folder, device=self.device, wanted=lambda key: not key.startswith(_ENCODER_KEYS))

    @cached_property
    def encoder(self) -> SpeechEncoder:
        """The audio encoder and adaptor."""
        path = self.folder / "config.json"
        try:
            config = read_encoder(json.loads(path.read_text(encoding="utf-8")), str(path))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read ({error})") from None
        weights = read_weights(self.folder, lambda key: key.startswith(_ENCODER_KEYS))
        tensors = {key: value for key, value in weights.items() if isinstance(value, Tensor)}
        return SpeechEncoder.from_tensors(config, tensors).to(self.device)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The special ids, by their strings; every id in the configuration's list ends a reply."""
        found = Vocabulary.from_tokenizer(self.tokenizer)
        stops = found.stop | frozenset(self.lm.config.eos_token_ids)
        return Vocabulary(**{**found.__dict__, "stop": stops})

    @cached_property
    def _grammar(self) -> Ta4Grammar:
        size, bot = self.lm.config.vocab_size, self.tokenizer.token_id(BOT)
        return Ta4Grammar(self.vocabulary, size, bot, self.vocabulary.stop)

    def load(self) -> "Step2Model":
        """Read everything now."""
        _ = (self.lm, self.encoder, self.vocabulary)
        return self

    def ids(
        self,
        prompt: step2.Prompt,
        *,
        speech: bool,
        sampling: TaskSampling,
        seed: int | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[int]:
        """Yield the ids of the reply as they are drawn, the one that ends it included.

        Args:
            prompt: the conversation.
            speech: whether the prompt ended with ``<tts_start>``.
            sampling: how to draw.
            seed: makes it repeatable.
            cancel: stops it.

        Raises:
            InputError: the prompt does not fit the context.
        """
        ids = prompt.ids(self.tokenizer)
        names = [self._hear(samples) for samples in prompt.audio]
        embeds = self.lm.embed(torch.tensor([ids], device=self.lm.device))
        if names:
            features = [self._features[name] for name in names]
            embeds = inject(embeds, torch.tensor([ids]), features, self.vocabulary.audio_start)
        keys = self._keys(ids, names)
        known = self._read.shared(keys) if self._read else 0
        cache = self._read.cache if self._read and known else self.lm.new_cache()
        cache.truncate(known)
        self._read = _Read(cache, keys)
        settings = Sampling(
            temperature=sampling.temperature,
            top_k=50 if sampling.temperature else 0,  # the default of the library that the reference uses
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
        )
        row = Prompt(ids, embeds=embeds[0, known:], seed=seed, grammar=_Way(self._grammar, speech))
        limits = Limits(max_new_tokens=sampling.max_new_tokens, stop=self.vocabulary.stop)
        drawn = self._read.drawn
        for token in generate_ids(self.lm, row, sampling=settings, limits=limits, cache=cache, cancel=cancel):
            drawn.append(token)
            yield token

    def _hear(self, samples: np.ndarray) -> str:
        """Encode a clip unless it was encoded before; return the name its features are kept under."""
        name = hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest()
        if name in self._features:
            self._features.move_to_end(name)
            return name
        self._features[name] = self.encoder.features([samples])[0].to(self.lm.dtype)
        return name

    def _keys(self, ids: Sequence[int], names: Sequence[str]) -> list[object]:
        """Return what stands at each position: an id, or for features the sound they come from."""
        keys: list[object] = []
        heard = iter(names)
        name = ""
        for token in ids:
            if token == self.vocabulary.audio_start:
                name = next(heard, "")
            keys.append(name if token == self.vocabulary.audio_patch else token)
        while len(self._features) > max(_CLIPS, len(names)):
            self._features.popitem(last=False)
        return keys
