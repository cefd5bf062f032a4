"""The suite `lm`: nano's tokens per second, and what a token costs a step1 model as its context grows."""

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

from stepaudio.bench.peer import load_transformers, tokens_per_second
from stepaudio.bench.result import BenchResult, Figure
from stepaudio.errors import InputError, ModelError

if TYPE_CHECKING:
    from stepaudio.families.base import Mind
    from stepaudio.lm.config import LMConfig
    from stepaudio.lm.mind import NanoMind

PROMPT_TOKENS = 100
NEW_TOKENS = 48
LENGTHS = (64, 256, 1024, 4096)  # tokens already held when a step is timed
UNCACHED_LENGTHS = (64, 256, 1024)  # a step without a cache reads all of it again
STEPS = 8


def run_lm(repeats: int, progress: Callable[[str], None]) -> BenchResult:
    """Measure nano's prefill and decode speed, and step1 at tiny size with and without a KV cache.

    The cached cost of a token is also given against what the longer context explains: reading keys and values
    grows with the length, the rest of a step does not. Where transformers is installed, it writes with
    the same weights in turn with nano.
    """
    from stepaudio.api import load

    mind = load("nano").family.mind
    mind.load()
    notes = [
        f"nano: {PROMPT_TOKENS} prompt tokens read, {NEW_TOKENS} written, greedy.",
        f"step1: {_tiny_step1().num_hidden_layers} layers of {_tiny_step1().hidden_size}, random weights; "
        "milliseconds for one token at each number of tokens already held.",
    ]
    try:
        peer = load_transformers(_nano(mind).folder)
    except ModelError as error:
        peer = None
        notes.append(f"No peer: {error}.")
    figures: dict[str, list[float]] = {}
    for turn in range(repeats):
        progress(f"bench: nano, run {turn + 1} of {repeats}")
        figures.setdefault("nano_prefill_tokens_per_s", []).append(nano_prefill_per_second(mind))
        ours = nano_tokens_per_second(mind)
        figures.setdefault("nano_tokens_per_s", []).append(ours)
        if peer is not None:
            progress(f"bench: transformers, run {turn + 1} of {repeats}")
            theirs = peer_tokens_per_second(peer, _prompt(time.perf_counter_ns()))
            figures.setdefault("transformers_tokens_per_s", []).append(theirs)
            figures.setdefault("nano_over_transformers", []).append(ours / theirs)
    units = {"nano_over_transformers": "x/x"}
    figures_out = [Figure(name, units.get(name, "tokens/s"), tuple(v)) for name, v in figures.items()]
    return BenchResult("lm", (*figures_out, *step1_costs(repeats, progress)), tuple(notes))


def nano_tokens_per_second(mind: "Mind") -> float:
    """Return the speed of writing, the prompt and the first token not counted; `mind` must be nano's."""
    mind = _nano(mind)
    from stepaudio.lm.sampling import Sampling

    ids = mind.ids(
        _prompt(time.perf_counter_ns()), sampling=Sampling(temperature=0), max_new_tokens=NEW_TOKENS
    )
    times = []
    for _ in ids:
        times.append(time.perf_counter())
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def peer_tokens_per_second(peer: Any, prompt: list[int]) -> float:
    """Return the speed of transformers' writing on as many cores as nano takes."""
    from stepaudio.lm.mind import Manner
    from stepaudio.lm.threads import cores

    with cores(Manner().cores):
        return tokens_per_second(peer, prompt, NEW_TOKENS)


def nano_prefill_per_second(mind: "Mind") -> float:
    """Return the speed of reading a prompt that shares nothing with an earlier one; `mind` must be nano's."""
    mind = _nano(mind)
    prompt = _prompt(time.perf_counter_ns())
    started = time.perf_counter()
    next(mind.ids(prompt, max_new_tokens=1), None)
    return len(prompt) / (time.perf_counter() - started)


def _nano(mind: "Mind") -> "NanoMind":
    from stepaudio.lm.mind import NanoMind

    if not isinstance(mind, NanoMind):
        raise InputError("this figure is measured on nano's language model only")
    return mind


def _prompt(salt: int) -> list[int]:
    # Ordinary words in an order that no cache has seen.
    return [1000 + (salt // 1000 + 7919 * k) % 20_000 for k in range(PROMPT_TOKENS)]


def step1_costs(repeats: int, progress: Callable[[str], None]) -> list[Figure]:
    """Return milliseconds a token of a small step1 model, cached and uncached, at growing lengths."""
    import torch

    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.threads import cores

    torch.manual_seed(0)
    lm = DecoderLM(_tiny_step1()).eval()
    samples: dict[str, list[float]] = {}
    with torch.inference_mode(), cores(1):
        for turn in range(repeats):
            progress(f"bench: step1, run {turn + 1} of {repeats}")
            for length in LENGTHS:
                cache = lm.new_cache(capacity=length + STEPS)
                ids = torch.randint(0, lm.config.vocab_size, (1, length + STEPS))
                for begin in range(0, length, 256):
                    lm(ids[:, begin : min(begin + 256, length)], cache=cache, last_only=True)
                steps = []
                for k in range(STEPS):
                    started = time.perf_counter()
                    lm(ids[:, length + k : length + k + 1], cache=cache)
                    steps.append(1e3 * (time.perf_counter() - started))
                samples.setdefault(f"step1_cached_at_{length}", []).append(median(steps))
                if length in UNCACHED_LENGTHS:
                    started = time.perf_counter()
                    lm(ids[:, :length], last_only=True)
                    elapsed = 1e3 * (time.perf_counter() - started)
                    samples.setdefault(f"step1_uncached_at_{length}", []).append(elapsed)
    figures = [Figure(name, "ms/token", tuple(values)) for name, values in samples.items()]
    growth = _growth(samples)
    return [*figures, Figure("step1_growth_over_kv_length", "x/x", growth)]


def _growth(samples: dict[str, list[float]]) -> tuple[float, ...]:
    """Return, run by run, how much more a token costs at the longest length, over how much longer that is.

    Below 1 the cost grows no faster than the keys and values it has to read.
    """
    first, last = samples[f"step1_cached_at_{LENGTHS[0]}"], samples[f"step1_cached_at_{LENGTHS[-1]}"]
    longer = LENGTHS[-1] / LENGTHS[0]
    return tuple(b / a / longer for a, b in zip(first, last, strict=True))


def _tiny_step1() -> "LMConfig":
    from stepaudio.lm.config import LMConfig

    return LMConfig(
        vocab_size=1024,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=12,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        position="sqrt_alibi",
    )
