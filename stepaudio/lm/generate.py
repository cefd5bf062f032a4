"""The one generation engine, for text and audio: prefill, then one id a row and step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stepaudio.cancel import CancelToken
from stepaudio.errors import InputError
from stepaudio.lm.cache import KVCache
from stepaudio.lm.model import DecoderLM
from stepaudio.lm.sampling import Draw, Grammar, Phase, SamplerState, Sampling, sample, start_sampler

_BIAS_BYTES = 64 << 20  # most memory a prefill chunk may take for its attention bias
_MAX_CHUNK = 512  # prompt positions per forward pass


@dataclass(frozen=True, eq=False)
class Prompt:
    """What one row starts from.

    Attributes:
        ids: the prompt's ids; also what history rules look at.
        embeds: ``(length, hidden)`` to feed instead, when features stand among the words.
        seed: of this row's draws; ``None`` for a fresh course.
        grammar: what may come next; ``None`` allows everything.
    """

    ids: Sequence[int] = ()
    embeds: Tensor | None = None
    seed: int | None = None
    grammar: Grammar | None = None


@dataclass(frozen=True)
class Limits:
    """When a row ends.

    Attributes:
        max_new_tokens: most ids a row may write.
        stop: ids that end a row; the stop id itself is yielded too.
    """

    max_new_tokens: int = 256
    stop: frozenset[int] = frozenset()


@dataclass
class Row:
    """One row; `finished` tells why it ended: ``stop``, ``length``, ``context`` or ``cancelled``."""

    sampler: SamplerState
    grammar: Grammar | None
    index: int
    finished: str | None = None

    @property
    def ids(self) -> list[int]:
        """The ids written so far."""
        return self.sampler.generated


@dataclass
class Generation:
    """A batch under way.

    Attributes:
        model: writes.
        cache: of the rows that still run.
        rows: all rows, in the order they were given.
        limits: when to end.
        samplings: by modality; ``""`` for every other.
        logits: to draw from next; ``None`` while the last ids have not been read.
        running: the rows that still write.
    """

    model: DecoderLM
    cache: KVCache
    rows: list[Row]
    limits: Limits
    samplings: Mapping[str, Sampling]
    logits: Tensor | None
    running: list[Row] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether every row has ended."""
        return not self.running


def start(
    model: DecoderLM,
    prompts: Sequence[Prompt],
    *,
    sampling: Sampling | Mapping[str, Sampling],
    limits: Limits,
    cache: KVCache | None = None,
    cancel: CancelToken | None = None,
) -> Generation:
    """Read the prompts and get ready to write.

    Args:
        model: the language model.
        prompts: one a row, of any lengths.
        sampling: for everything, or by modality (the names of the grammar's phases; ``text`` without one).
        limits: when to end.
        cache: what these rows have read before (a common prefix); grown in place. Fresh by default.
        cancel: checked between the chunks of a long prompt.

    Raises:
        InputError: no prompts, an empty one, or more than the context holds.
    """
    if not prompts:
        raise InputError("nothing to generate from: no prompts")
    samplings = {"": sampling} if isinstance(sampling, Sampling) else dict(sampling)
    cache = cache or model.new_cache(len(prompts))
    rows = [Row(start_sampler(p.seed, p.ids, model.device), p.grammar, i) for i, p in enumerate(prompts)]
    with torch.inference_mode():
        if any(p.embeds is not None for p in prompts):
            logits = _prefill(model, cache, embeds=[_embeds(model, p) for p in prompts], cancel=cancel)
        else:
            logits = _prefill(model, cache, ids=[p.ids for p in prompts], cancel=cancel)
    return Generation(model, cache, rows, limits, samplings, logits, list(rows))


def step(state: Generation) -> list[int | None]:
    """Write one id on every running row; rows that ended give ``None``."""
    written: list[int | None] = [None] * len(state.rows)
    with torch.inference_mode():
        if state.logits is None:
            last = torch.tensor([[row.ids[-1]] for row in state.running], device=state.model.device)
            state.logits = state.model(last, cache=state.cache)[:, -1]
        stay: list[int] = []
        for place, row in enumerate(state.running):
            token = written[row.index] = _draw(state, row, state.logits[place])
            row.finished = _end(state, row, token, state.cache.lengths[place])
            if row.finished is None:
                stay.append(place)
        # The ids drawn are read at the next step: the caller has them at once.
        state.logits = None
        if len(stay) < len(state.running):
            state.running = [state.running[place] for place in stay]
            if state.running:
                state.cache.select(stay)
    return written


def _draw(state: Generation, row: Row, logits: Tensor) -> int:
    phase = row.grammar.phase(row.ids) if row.grammar else Phase()
    rules = state.samplings.get(phase.modality) or state.samplings.get("")
    if rules is None:
        raise InputError(f"no sampling is set for {phase.modality!r}")
    return sample(row.sampler, logits, Draw(rules, phase))


def _end(state: Generation, row: Row, token: int, length: int) -> str | None:
    if token in state.limits.stop:
        return "stop"
    if len(row.ids) >= state.limits.max_new_tokens:
        return "length"
    return "context" if length >= state.model.config.max_position_embeddings else None


def generate(
    model: DecoderLM,
    prompts: Sequence[Prompt],
    *,
    sampling: Sampling | Mapping[str, Sampling],
    limits: Limits,
    cache: KVCache | None = None,
    cancel: CancelToken | None = None,
    on_end: Callable[[Generation], None] | None = None,
) -> Iterator[list[int | None]]:
    """Yield the ids of each step, one a row (``None`` for rows that ended), as soon as they are drawn.

    Arguments as for :func:`start`; `on_end` gets the state when the rows ended, or `cancel`
    was called, or the caller stopped listening.
    """
    if cancel is not None and cancel.cancelled:
        return
    state = start(model, prompts, sampling=sampling, limits=limits, cache=cache, cancel=cancel)
    try:
        while not state.done:
            if cancel is not None and cancel.cancelled:
                for row in state.running:
                    row.finished = "cancelled"
                return
            yield step(state)
    finally:
        if on_end is not None:
            on_end(state)


def generate_ids(
    model: DecoderLM,
    prompt: Prompt,
    *,
    sampling: Sampling | Mapping[str, Sampling],
    limits: Limits,
    cache: KVCache | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[int]:
    """Yield the ids of one row; arguments as for :func:`start`."""
    for (token,) in generate(model, [prompt], sampling=sampling, limits=limits, cache=cache, cancel=cancel):
        assert token is not None
        yield token


def _embeds(model: DecoderLM, prompt: Prompt) -> Tensor:
    if prompt.embeds is not None:
        return prompt.embeds.to(model.device, model.dtype)
    return model.embed(torch.tensor(list(prompt.ids), dtype=torch.long, device=model.device))


def _prefill(
    model: DecoderLM,
    cache: KVCache,
    *,
    ids: Sequence[Sequence[int]] = (),
    embeds: Sequence[Tensor] = (),
    cancel: CancelToken | None,
) -> Tensor:
    """Feed the prompts chunk by chunk; return the logits after each row's last token, ``(batch, vocab)``."""
    lengths = [len(row) for row in (ids or embeds)]
    if min(lengths) == 0:
        raise InputError("a prompt is empty")
    longest = max(lengths)
    cache.reserve(max(n + old for n, old in zip(lengths, cache.lengths, strict=True)))
    if embeds:
        padded = torch.stack([torch.nn.functional.pad(e, (0, 0, 0, longest - len(e))) for e in embeds])
    else:
        pad = model.config.pad_token_id
        padded = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in ids], device=model.device)
    # Padded on the left, so that every row's last token is in the last column.
    for row, length in enumerate(lengths):
        padded[row] = padded[row].roll(longest - length, 0)
    mask = torch.arange(longest)[None] >= longest - torch.tensor(lengths)[:, None]
    mask = mask.to(model.device)
    size = _chunk(model, cache.batch, longest + max(cache.lengths))
    logits = None
    for begin in range(0, longest, size):
        if begin and cancel is not None and cancel.cancelled:
            break
        end = begin + size
        part = padded[:, begin:end]
        given = {"inputs_embeds": part} if embeds else {"input_ids": part}
        logits = model(**given, cache=cache, mask=mask[:, begin:end], last_only=True)
    assert logits is not None
    return logits[:, -1]


def _chunk(model: DecoderLM, batch: int, keys: int) -> int:
    """Return how many positions to feed at once so that the bias of one pass stays within its memory."""
    heads = model.config.num_attention_heads if model.config.position == "sqrt_alibi" else 1
    return max(16, min(_MAX_CHUNK, _BIAS_BYTES // (4 * batch * heads * keys)))
