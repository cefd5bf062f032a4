"""A language model as judge: one rubric, one JSON verdict, several votes, each asked once and kept."""

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import mean
from typing import Any

from stepaudio.errors import InputError
from stepaudio.evaluation.http import parse_address, post
from stepaudio.evaluation.judges.cache import VerdictCache
from stepaudio.evaluation.judges.rubrics import Opinion, Rubric
from stepaudio.serving.endpoint import RemoteError

MAX_TOKENS = 1000
"""Of a verdict; room for a model that thinks aloud first."""


@dataclass(frozen=True)
class Ruling:
    """What the votes came to.

    Attributes:
        votes: each vote's fields.
        values: the majority for truths and words, the mean for numbers.
    """

    votes: tuple[dict[str, Any], ...]
    values: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"values": self.values, "votes": list(self.votes)}


class LlmJudge:
    """A judge behind an OpenAI-compatible server.

    Args:
        address: ``URL#MODEL``.
        votes: how often each question is put (other seeds, temperature 0); odd, so that there is a majority.
        cache: where verdicts are kept; the user's cache by default.
    """

    def __init__(self, address: str, *, votes: int = 3, cache: VerdictCache | None = None):
        if votes < 1 or votes % 2 == 0:
            raise InputError(f"{votes} votes can tie: use an odd number")
        self.server, _ = parse_address(address)
        self.votes = votes
        self.cache = cache or VerdictCache.default()

    def describe(self) -> dict[str, Any]:
        """Return what the report must say about it."""
        return {"model": self.server.model, "address": self.server.url, "votes": self.votes}

    def rule(self, rubric: Rubric, fields: Mapping[str, str]) -> Ruling:
        """Put a rubric's question and count the votes.

        Raises:
            RemoteError: the server fails, or its verdict is not of the rubric's form.
        """
        instructions, question = rubric.ask(fields)
        votes = tuple(self._vote(rubric, instructions, question, seed) for seed in range(self.votes))
        return Ruling(votes, _count(votes))

    def _vote(self, rubric: Rubric, instructions: str, question: str, seed: int) -> dict[str, Any]:
        body = {
            "model": self.server.model,
            "temperature": 0,
            "seed": seed,
            "max_tokens": MAX_TOKENS,
            "messages": [
                {"role": "system", "content": instructions},
                {"role": "user", "content": question},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": rubric.name.replace("-", "_"),
                    "strict": True,
                    "schema": rubric.form.model_json_schema(),
                },
            },
        }
        # Where the server stands does not matter to what the model says.
        kept = self.cache.get(body)
        if kept is not None and (opinion := _read(rubric.form, kept)):
            return opinion
        answer = post(self.server, "/chat/completions", body=body).json(self.server.url)
        try:
            choice = answer["choices"][0]
            said = choice["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise RemoteError(f"{self.server.url}: the judge's answer has no content") from None
        opinion = _read(rubric.form, str(said))
        if opinion is None and choice.get("finish_reason") == "length":
            raise RemoteError(f"{self.server.url}: the judge's verdict was cut off at {MAX_TOKENS} tokens")
        if opinion is None:
            start = " ".join(str(said).split())[:80]
            raise RemoteError(
                f"{self.server.url}: the judge's verdict is not of the {rubric.name} form: {start!r}"
            )
        self.cache.put(body, str(said))
        return opinion


def _read(form: type[Opinion], text: str) -> dict[str, Any] | None:
    """Return the last object in `text` that is of the form, whatever stands around it, or ``None``."""
    found, at = None, text.find("{")
    decoder = json.JSONDecoder()
    while at >= 0:
        end = at + 1
        with suppress(ValueError):  # a ValidationError is one
            _, whole = decoder.raw_decode(text, at)
            found, end = form.model_validate_json(text[at:whole]).model_dump(), whole
        at = text.find("{", end)
    return found


def _count(votes: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, first in votes[0].items():
        if name == "reason":
            continue
        given = [vote[name] for vote in votes]
        numeric = isinstance(first, int | float) and not isinstance(first, bool)
        values[name] = mean(given) if numeric else Counter(given).most_common(1)[0][0]
    return values
