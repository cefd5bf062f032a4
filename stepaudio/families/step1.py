"""The step1 language models of Step-Audio: TTS-3B writes codes, Chat writes text."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.audio import Audio
from stepaudio.cancel import CancelToken
from stepaudio.codes import GROUP, LINGUISTIC_SIZE, SEMANTIC_SIZE, STEP_AUDIO
from stepaudio.errors import ModelError
from stepaudio.lm.generate import Limits, Prompt, generate_ids
from stepaudio.lm.prompts.messages import Message
from stepaudio.lm.prompts.step_chat import render
from stepaudio.lm.prompts.tts import BOT, EOT, SpeechPrompt
from stepaudio.lm.sampling import IdSet, Pattern, Phase, Sampling
from stepaudio.lm.text import finish_text, load_text_tokenizer, push_text, start_text
from stepaudio.lm.weights import load_lm

if TYPE_CHECKING:
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.text import TextTokenizer

# The released program's settings; top_k 50 is the default of the library it generates with.
SPEECH_SAMPLING = Sampling(temperature=0.7, top_k=50, step_repetition_rule=True)
CHAT_SAMPLING = Sampling(temperature=0.7, top_k=50, top_p=0.9)
SPEECH_CONTEXT = 8192  # ids of a spoken sentence, its prompt included
CHAT_TOKENS = 2048

_FIRST, _MIDDLE, _END = (
    STEP_AUDIO.first_id,
    STEP_AUDIO.first_id + LINGUISTIC_SIZE,
    STEP_AUDIO.first_id + LINGUISTIC_SIZE + SEMANTIC_SIZE,
)
_STOP = IdSet(singles=(EOT,))


class SpeechGrammar:
    """Legal ids of speech: two linguistic, three semantic, again and again, and EOT between groups.

    The released program draws from the whole vocabulary; one slip there shifts the two codebooks against each
    other for the rest of the sentence. EOT cannot come first either: a text is never answered with nothing.
    """

    def __init__(self, vocab_size: int):
        linguistic, semantic = IdSet(((_FIRST, _MIDDLE),)), IdSet(((_MIDDLE, _END),))
        cycle = [("audio", linguistic)] * GROUP[0] + [("audio", semantic)] * GROUP[1]
        self._first = Phase("audio", linguistic.mask(vocab_size))
        self._pattern = Pattern(vocab_size, tuple(cycle), _STOP)

    def phase(self, generated: Sequence[int]) -> Phase:
        """Return what may come after `generated`."""
        return self._pattern.phase(generated) if generated else self._first


def text_pattern(vocab_size: int) -> Pattern:
    """Legal ids of a written reply: words and EOT, no codes and no markers of turns."""
    return Pattern(vocab_size, (("text", IdSet(((BOT + 1, _FIRST),))),), _STOP)


class Step1:
    """One step1 folder; weights and tokenizer are read at first use.

    Args:
        folder: ``config.json``, safetensors and ``tokenizer.model``.
        device: where it runs.
    """

    def __init__(self, folder: Path, *, device: str = "cpu"):
        self.folder = folder
        self.device = device

    @cached_property
    def tokenizer(self) -> "TextTokenizer":
        """The text tokenizer, as the folder configures it.

        Raises:
            ModelError: there is none, or its ids are not Step-Audio's.
        """
        tokenizer = load_text_tokenizer(self.folder)
        for piece, wanted in (("<|EOT|>", EOT), ("<|BOT|>", BOT), ("<audio_0>", STEP_AUDIO.first_id)):
            if (found := tokenizer.token_id(piece)) != wanted:
                raise ModelError(f"{self.folder}: {piece} has the id {found}, not {wanted}")
        return tokenizer

    @cached_property
    def lm(self) -> "DecoderLM":
        """The language model in the type its weights are stored in.

        Raises:
            ModelError: a file is missing or damaged, or the vocabulary is too small for the codes.
        """
        lm = load_lm(self.folder, device=self.device)
        if lm.config.vocab_size < _END:
            raise ModelError(f"{self.folder}: a vocabulary of {lm.config.vocab_size} has no audio codes")
        return lm

    @cached_property
    def _speech(self) -> SpeechGrammar:
        return SpeechGrammar(self.lm.config.vocab_size)

    @cached_property
    def _text(self) -> Pattern:
        return text_pattern(self.lm.config.vocab_size)

    def codes(
        self,
        prompt: SpeechPrompt,
        *,
        most: int,
        sampling: Sampling = SPEECH_SAMPLING,
        seed: int | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[int]:
        """Yield the joint indices that say what `prompt` asks for, as they are drawn.

        Args:
            prompt: see `stepaudio.lm.prompts.tts`.
            most: indices after which it is cut off: a bound on loops.
            sampling: how to draw.
            seed: makes it repeatable.
            cancel: stops it.

        Raises:
            InputError: the prompt does not fit the context.
        """
        room = min(SPEECH_CONTEXT, self.lm.config.max_position_embeddings) - len(prompt.ids)
        limits = Limits(max_new_tokens=max(1, min(most, room)), stop=frozenset({EOT}))
        row = Prompt(prompt.ids, seed=seed, grammar=self._speech)
        for token in generate_ids(self.lm, row, sampling=sampling, limits=limits, cancel=cancel):
            if token != EOT:  # only the end itself is dropped, never a code that the limit made the last
                yield token - STEP_AUDIO.first_id

    def text(
        self,
        messages: Sequence[Message],
        *,
        audio_text: Callable[[Audio], str] | None = None,
        sampling: Sampling = CHAT_SAMPLING,
        most: int = CHAT_TOKENS,
        seed: int | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[str]:
        """Yield the written reply in pieces; `audio_text` turns sound into ``<audio_N>`` text."""
        ids = self.tokenizer.encode(render(messages, audio_text=audio_text))
        row = Prompt(ids, seed=seed, grammar=self._text)
        limits = Limits(max_new_tokens=most, stop=frozenset({EOT}))
        state = start_text(self.tokenizer)
        for token in generate_ids(self.lm, row, sampling=sampling, limits=limits, cancel=cancel):
            delta = "" if token == EOT else push_text(state, [token])
            if delta:
                yield delta
        if rest := finish_text(state):
            yield rest
