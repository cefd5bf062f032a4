"""Whether a request needs a tool, and which: scored with the language model itself, nothing is generated.

A 135M model does not obey "call a tool when needed", but it knows what requests look like. For each tool it
reads the description and example requests, and then how likely the user's words are as the next one in that
list, against their likelihood as a remark among friends. That ratio, the similarity of hidden states with the
examples, and the share of words that the tool's text has too are weighed by numbers fitted on other requests.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stepaudio.tools.docstring import EXAMPLES

if TYPE_CHECKING:
    from stepaudio.lm.cache import KVCache
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.text import TextTokenizer

# Requests that need no tool; what a tool's examples are held against.
_TALK = (
    "Tell me a joke.",
    "What is the capital of Italy?",
    "How do I make a cup of tea?",
    "I feel a bit tired today.",
    "Who painted the Mona Lisa?",
    "Thank you, that was nice.",
    "Why do birds sing?",
    "Play some jazz.",
)
_TALKING = "Things that people say to a friend who knows a lot, just to talk:"
_ASKING = "Requests for a tool. "
_MOST_TOKENS = 96  # of a request; what comes later decides nothing
# Words that say nothing about what is wanted.
_COMMON_TEXT = (
    "a an the to of for in on at is are was be it its i i'd i'm me my you your do does did can could will "
    "would what what's who how when where which that this like with and or not please tell by than from as "
    "have has"
)
COMMON = frozenset(_COMMON_TEXT.split())
_STEM = 5  # letters of a word that are compared


@dataclass(frozen=True)
class Weights:
    """How the signs are weighed (evals/tool_calls fits and measures them).

    Attributes:
        ratio: of the log-likelihood ratio, in nats.
        near_tool: of the best cosine with an example of the tool.
        near_talk: of the best cosine with a remark.
        overlap: of the share of words found in the tool's text.
        bias: the sum must be above 0 for a call.
    """

    ratio: float = 0.168
    near_tool: float = 10.08
    near_talk: float = -1.10
    overlap: float = 5.89
    bias: float = -3.08


@dataclass(frozen=True)
class Candidate:
    """A declared tool as the choice sees it."""

    name: str
    text: str
    examples: tuple[str, ...]
    words: frozenset[str]


@dataclass(frozen=True, eq=False)
class Chooser:
    """A model that has read a set of tools; one choice at a time.

    Attributes:
        model: reads.
        tokenizer: of the model.
        tools: in the order of the cache's rows, behind the row of talk.
        cache: has read each row's list up to its last id.
        lengths: ids in each row of the cache.
        last: the last id of each list.
        centre: mean and spread of the hidden states of all examples, ``(2, hidden)``.
        near: unit vectors of the examples of each row.
        weights: of the signs.
    """

    model: "DecoderLM"
    tokenizer: "TextTokenizer"
    tools: tuple[Candidate, ...]
    cache: "KVCache"
    lengths: tuple[int, ...]
    last: tuple[int, ...]
    centre: Tensor
    near: tuple[Tensor, ...]
    weights: Weights = field(default_factory=Weights)


def start_chooser(model: "DecoderLM", tokenizer: "TextTokenizer", tools: Sequence[dict[str, Any]]) -> Chooser:
    """Read the tools.

    Args:
        model: the language model.
        tokenizer: of the model.
        tools: schemas in OpenAI's form; lines behind ``Examples:`` in a description are requests.
    """
    found = tuple(_candidate(tool["function"]) for tool in tools)
    lists = [_list(_TALKING, _TALK), *(_list(_ASKING + tool.text, tool.examples) for tool in found)]
    ids = [tokenizer.encode(text) for text in lists]
    cache = model.new_cache(len(ids))
    with torch.inference_mode():
        heads = [row[:-1] for row in ids]
        batch, mask = _padded(heads, model.config.pad_token_id)
        model(batch, cache=cache, mask=mask, last_only=True)
        groups = [_TALK, *(tool.examples or (tool.text,) for tool in found)]
        means = [[_mean(model, tokenizer, text) for text in group] for group in groups]
        everything = torch.stack([vector for group in means for vector in group])
        centre = torch.stack([everything.mean(0), everything.std(0) + 1e-3])
        near = tuple(torch.stack([_unit(vector, centre) for vector in group]) for group in means)
    return Chooser(
        model, tokenizer, found, cache, tuple(map(len, heads)), tuple(r[-1] for r in ids), centre, near
    )


def scores(chooser: Chooser, request: str) -> dict[str, float]:
    """Return how much each tool is wanted; above 0 is a yes."""
    weights, said = chooser.weights, _sentence(request)
    with torch.inference_mode():
        likely = _likelihoods(chooser, said)
        vector = _unit(_mean(chooser.model, chooser.tokenizer, said), chooser.centre)
        cosines = [float((group @ vector).max()) for group in chooser.near]
    words = content_words(said)
    out = {}
    for row, tool in enumerate(chooser.tools, 1):
        overlap = len(words & tool.words) / max(1, len(words))
        out[tool.name] = (
            weights.bias
            + weights.ratio * (likely[row] - likely[0])
            + weights.near_tool * cosines[row]
            + weights.near_talk * cosines[0]
            + weights.overlap * overlap
        )
    return out


def choose(chooser: Chooser, request: str) -> str | None:
    """Return the name of the tool that `request` needs, or ``None``."""
    found = scores(chooser, request)
    best = max(found, key=found.__getitem__)
    return best if found[best] > 0 else None


def _likelihoods(chooser: Chooser, said: str) -> list[float]:
    """Return the log-likelihood of `said` as the next item of each row's list."""
    ids = chooser.tokenizer.encode(f" {said}\n")[:_MOST_TOKENS]
    rows = torch.tensor([[last, *ids[:-1]] for last in chooser.last])
    try:
        logits = chooser.model(rows, cache=chooser.cache).float()
    finally:
        chooser.cache.truncate(chooser.lengths)
    given = torch.tensor(ids).expand(len(rows), -1)[..., None]
    log_likely: list[float] = logits.log_softmax(-1).gather(-1, given)[..., 0].sum(-1).tolist()
    return log_likely


def _candidate(function: dict[str, Any]) -> Candidate:
    description = str(function.get("description") or function["name"].replace("_", " "))
    text, _, examples = description.partition(EXAMPLES)
    lines = tuple(line.strip().lstrip("- ") for line in examples.strip().splitlines())
    words = content_words(f"{function['name']} {description}")
    return Candidate(function["name"], " ".join(text.split()), tuple(filter(None, lines)), words)


def _list(head: str, items: Sequence[str]) -> str:
    return "\n".join((head, *(f"- {item}" for item in items), "-"))


def _padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    batch = torch.tensor([[*[pad] * (longest - len(row)), *row] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return batch, torch.arange(longest)[None] >= longest - lengths[:, None]


def _mean(model: "DecoderLM", tokenizer: "TextTokenizer", text: str) -> Tensor:
    ids = tokenizer.encode(text)[:_MOST_TOKENS]
    return model.hidden(torch.tensor([ids]))[0].float().mean(0)


def _unit(vector: Tensor, centre: Tensor) -> Tensor:
    apart = (vector - centre[0]) / centre[1]
    return apart / apart.norm().clamp_min(1e-6)


def content_words(text: str) -> frozenset[str]:
    """Return the beginnings of the words in `text` that say something."""
    found = re.findall(r"[a-z']+", text.lower().replace("_", " "))
    return frozenset(word[:_STEM] for word in found if word not in COMMON)


def _sentence(request: str) -> str:
    """Return the request written as the examples are: recognised speech may lack capitals and marks."""
    said = " ".join(request.split()) or "…"
    said = said[0].upper() + said[1:]
    return said if said[-1] in ".?!" else said + "."
