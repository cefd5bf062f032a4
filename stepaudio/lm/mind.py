"""nano's mind: SmolLM2-135M-Instruct, answering in a few spoken sentences."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any

from stepaudio.errors import InputError
from stepaudio.lm.prompts import chatml
from stepaudio.lm.prompts.messages import Message, TextPart, ToolCallPart

if TYPE_CHECKING:
    from stepaudio.cancel import CancelToken
    from stepaudio.lm.cache import KVCache
    from stepaudio.lm.generate import Generation, Prompt
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.sampling import Grammar, Sampling
    from stepaudio.lm.text import TextTokenizer
    from stepaudio.lm.tools.use import ToolUser

SYSTEM = "You are a helpful voice assistant. Answer in one or two short, plain sentences."
# Turns that nobody said, put before the conversation: a 135M model copies a manner better than it obeys one.
EXAMPLES = (
    ("Who painted the Mona Lisa?", "Leonardo da Vinci painted the Mona Lisa."),
    ("What language do people speak in Italy?", "People in Italy speak Italian."),
    ("Which film should I watch tonight?", "You could watch Singin' in the Rain, a cheerful old musical."),
    ("How can I sleep better?", "Go to bed at the same time every night, and keep your room dark and quiet."),
    ("What is the fastest animal on land?", "The cheetah is the fastest animal on land."),
    ("What is seven plus two?", "Seven plus two is nine."),
    ("Hello, how are you?", "I'm doing well, thank you. How can I help you today?"),
)
_SENTENCE_END = re.compile(
    r"""(?<!\b\d)(?<!\d\d)(?<!\b[A-Z])(?<!Mr)(?<!Dr)(?<!Ms)(?<!Mrs)(?<!St)[.!?]["')\]]*$"""
)


@dataclass(frozen=True)
class Manner:
    """How long nano talks and how far back it remembers.

    Attributes:
        system: instructions used when the conversation has none of its own.
        examples: questions and answers put before the conversation when it has no system message.
        enough_words: once a reply has this many words it ends with its sentence.
        max_new_tokens: a reply never gets longer.
        max_prompt_tokens: older turns are forgotten beyond this, always whole ones.
        cores: cores it may use; ``None`` for all. More than one pays only while nothing else runs.
    """

    system: str = SYSTEM
    examples: tuple[tuple[str, str], ...] = EXAMPLES
    enough_words: int = 25
    max_new_tokens: int = 160
    max_prompt_tokens: int = 2048
    cores: int | None = 1


@dataclass(eq=False)
class Read:
    """What a KV cache has read."""

    ids: list[int]
    cache: "KVCache"


class NanoMind:
    """A small chat model on the CPU; safe to use from several threads, weights read when first used.

    Args:
        folder: ``model.safetensors``, ``tokenizer.json`` and ``lm.json``, as the card makes them.
        manner: how it talks.
    """

    kept_conversations = 2  # KV caches that wait for their conversation to go on

    def __init__(self, folder: Path, manner: Manner | None = None) -> None:
        self.folder = folder
        self.manner = manner or Manner()
        self._read: list[Read] = []
        self._lock = Lock()
        self._loading = RLock()

    def load(self) -> None:
        """Read the weights and the system prompt; safe to call from several threads."""
        with self._loading:
            list(self.ids(self.prompt_ids([Message("user", "")]), max_new_tokens=1))

    @cached_property
    def model(self) -> "DecoderLM":
        """The language model, packed for this CPU."""
        from stepaudio.lm.packed import best_precision
        from stepaudio.lm.threads import cores
        from stepaudio.lm.weights import load_lm

        with self._loading, cores(self.manner.cores):
            # A second thread that waited finds what the first one read.
            known = self.__dict__.get("model")
            return known if known is not None else load_lm(self.folder, precision=best_precision())

    @cached_property
    def tokenizer(self) -> "TextTokenizer":
        """Its tokenizer."""
        from stepaudio.lm.text import load_text_tokenizer

        return load_text_tokenizer(self.folder)

    @cached_property
    def sampling(self) -> "Sampling":
        """Default: the likeliest answer, held off loops; a 135M model strays when it draws."""
        from stepaudio.lm.sampling import Sampling

        return Sampling(temperature=0, no_repeat_ngram=4)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        sampling: "Sampling | None" = None,
        seed: int | None = None,
        cancel: "CancelToken | None" = None,
    ) -> Iterator[str]:
        """Yield the reply as text deltas; stops early when `cancel` is stale.

        Args:
            messages: the conversation, the user's turn last; text only.
            sampling: instead of the default.
            seed: for a repeatable reply when `sampling` draws.
            cancel: of this turn.

        Raises:
            InputError: nothing to answer, or a message with sound in it.
        """
        from stepaudio.lm.text import finish_text, push_text, start_text

        if answer := self._at_once(messages):
            yield answer
            return
        ids = self.prompt_ids(messages)
        text = start_text(self.tokenizer)
        said = ""
        for token in self.ids(ids, sampling=sampling, seed=seed, cancel=cancel):
            delta = _plain(push_text(text, [token]), said)
            if delta[:1].isspace() and self._enough(said):
                return
            if delta:
                said += delta
                yield delta
        if rest := _plain(finish_text(text), said):
            yield rest

    def stream_with_tools(
        self,
        messages: Sequence[Message],
        *,
        tools: "Sequence[dict[str, Any]]",
        cancel: "CancelToken | None" = None,
    ) -> "Iterator[str | ToolCallPart]":
        """Yield the call of the one tool that the user's turn needs, or else the reply; then tell its result.

        Raises:
            InputError: as `stream`, or the schema of the tool that is needed cannot be decoded under.
        """
        worded = self._worded(messages)
        if messages and messages[-1].role == "tool":
            yield from self.tool_user.tell(worded)
            return
        call = self.tool_user.call(worded[-1].text, tools, cancel=cancel) if messages and tools else None
        if call is not None:
            yield call
            return
        yield from self.stream(in_words(messages), cancel=cancel)

    @cached_property
    def tool_user(self) -> "ToolUser":
        """What chooses tools and fills their arguments in."""
        from stepaudio.lm.tools.use import ToolUser

        return ToolUser(self)

    def ids(
        self,
        prompt: Sequence[int],
        *,
        sampling: "Sampling | None" = None,
        seed: int | None = None,
        max_new_tokens: int | None = None,
        grammar: "Grammar | None" = None,
        cancel: "CancelToken | None" = None,
    ) -> Iterator[int]:
        """Yield the reply's ids to a prompt of ids (its stop id left out), reading only what is new in it."""
        from stepaudio.lm.generate import Limits, start, step
        from stepaudio.lm.threads import cores

        stop = frozenset(self.model.config.eos_token_ids)
        limits = Limits(max_new_tokens or self.manner.max_new_tokens, stop)
        read = self._take(prompt)
        known = len(read.ids)
        state: Generation | None = None
        try:
            with cores(self.manner.cores):
                state = start(
                    self.model,
                    [self._prompt(prompt[known:], seed, grammar)],
                    sampling=sampling or self.sampling,
                    limits=limits,
                    cache=read.cache,
                    cancel=cancel,
                )
            while not state.done and not (cancel is not None and cancel.cancelled):
                with cores(self.manner.cores):
                    (token,) = step(state)
                if token is None or token in stop:
                    return
                yield token
        finally:
            written = state.rows[0].ids if state is not None else []
            read.ids = [*prompt, *written][: read.cache.lengths[0]]
            self._give_back(read)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of the conversation, the oldest turns dropped until they fit.

        Raises:
            InputError: no messages, or the last turn alone is too long.
        """
        if not messages:
            raise InputError("there is nothing to answer: the conversation is empty")
        head = [m for m in messages[:1] if m.role == "system"]
        turns = list(messages[len(head) :])
        if not turns:
            raise InputError("there is nothing to answer: the conversation has only a system message")
        head = head or opening(self.manner)
        while True:
            ids = self._encode([*head, *turns])
            if len(ids) <= self.manner.max_prompt_tokens:
                return ids
            # The next turn to start with is the user's.
            later = [i for i, turn in enumerate(turns) if i and turn.role == "user"]
            if not later:
                raise InputError(
                    f"the message is too long: {len(ids)} tokens of {self.manner.max_prompt_tokens}"
                )
            turns = turns[later[0] :]

    def _at_once(self, messages: Sequence[Message]) -> str:
        """The reply where nothing has to be written for it, or ""."""
        return ""

    def _worded(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The conversation in words, by which tools are chosen."""
        return messages

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation as it is put to the model."""
        return self.tokenizer.encode(chatml.render(messages))

    def _prompt(self, ids: Sequence[int], seed: int | None, grammar: "Grammar | None") -> "Prompt":
        """What the model reads for ids that `_encode` gave."""
        from stepaudio.lm.generate import Prompt

        return Prompt(ids=ids, seed=seed, grammar=grammar)

    def _enough(self, said: str) -> bool:
        words, enough = len(said.split()), self.manner.enough_words
        if words < enough:
            return False
        # A list without an end is cut at a comma.
        return _SENTENCE_END.search(said) is not None or (words >= 2 * enough and said.endswith((",", ";")))

    def _take(self, prompt: Sequence[int]) -> Read:
        """Take the cache that has read most of `prompt`, cut to what they share, until it is given back."""
        with self._lock:
            best = max(self._read, key=lambda read: _shared(read.ids, prompt), default=None)
            if best is None or not _shared(best.ids, prompt):
                return Read([], self.model.new_cache())
            self._read.remove(best)
        # The last id is read again: its logits are what the first draw needs.
        keep = min(_shared(best.ids, prompt), len(prompt) - 1)
        best.cache.truncate(keep)
        best.ids = best.ids[:keep]
        return best

    def _give_back(self, read: Read) -> None:
        with self._lock:
            self._read.append(read)
            del self._read[: -self.kept_conversations]


def opening(manner: Manner) -> list[Message]:
    """Return what stands before a conversation that has no system message of its own."""
    turns = [Message("system", manner.system)]
    for question, answer in manner.examples:
        turns += [Message("user", question), Message("assistant", answer)]
    return turns


def in_words(messages: Sequence[Message]) -> list[Message]:
    """Return the conversation without calls and results: what was said about them stays."""
    out: list[Message] = []
    for message in messages:
        if message.role == "tool":
            continue
        if any(isinstance(part, ToolCallPart) for part in message.parts):
            said = "".join(part.text for part in message.parts if isinstance(part, TextPart))
            if not said.strip():
                continue
            message = Message("assistant", said)
        out.append(message)
    return out


def _shared(known: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many first ids are equal."""
    for place, (a, b) in enumerate(zip(known, prompt, strict=False)):
        if a != b:
            return place
    return min(len(known), len(prompt))


def _plain(delta: str, said: str) -> str:
    """Return `delta` as it is spoken: no markdown marks, line ends as blanks, no blank before a word."""
    delta = re.sub(r"[*#`_]+", "", delta)
    delta = re.sub(r"\s*\n\s*", " ", delta)
    if not said or said[-1].isspace():
        delta = delta.lstrip()
    return delta
