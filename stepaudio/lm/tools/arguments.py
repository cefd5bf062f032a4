"""A tool's arguments, decoded under its JSON schema: every call is valid, and quotes the user's own words."""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stepaudio.errors import InputError
from stepaudio.lm.sampling import Phase
from stepaudio.lm.tools.choice import COMMON, content_words
from stepaudio.tools.docstring import EXAMPLES

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MOST_TOKENS = 160  # of the arguments
_MOST_VALUE = 4  # words of the request in an optional argument
_MOST_QUOTE = 8  # words of the request in one argument; or all of them
# Free text has keywords beside it that only a schema with a plan of its own uses.
_BOUND = ("enum", "const", "pattern", "format", "minLength", "maxLength")
_FEW = (
    "Tool: play_music: Play a song or an artist.\n"
    "Parameters: artist (optional), room (optional)\n"
    "Request: Play some music, please.\n"
    "Arguments: {}\n\n"
    "Tool: set_alarm: Set an alarm.\n"
    "Parameters: time (When it rings.), label (optional)\n"
    "Request: wake me up at seven thirty please\n"
    'Arguments: {"time": "seven thirty"}\n\n'
    "Tool: play_music: Play a song or an artist.\n"
    "Parameters: artist (optional), room (optional)\n"
    "Request: Could you put on something by the Beatles in the kitchen?\n"
    'Arguments: {"artist": "the Beatles", "room": "kitchen"}\n\n'
    "Tool: find_recipe: Find a recipe.\n"
    "Parameters: dish (What to cook.), vegetarian (optional)\n"
    "Request: How do you make a good onion soup?\n"
    'Arguments: {"dish": "onion soup"}\n\n'
    "Tool: find_show: Find a show.\n"
    "Parameters: city (optional), day (optional)\n"
    "Request: Should I buy tickets for Friday?\n"
    'Arguments: {"day": "Friday"}\n\n'
    "Tool: find_train: Find a train.\n"
    "Parameters: station (Where it leaves; here when it is left out., optional), when (optional)\n"
    "Request: Is there a train from Leeds?\n"
    'Arguments: {"station": "Leeds"}\n\n'
)


def arguments_prompt(function: dict[str, Any], request: str) -> str:
    """Return the prompt whose continuation is the arguments as JSON."""
    text = " ".join(str(function.get("description", "")).partition(EXAMPLES)[0].split())
    schema = function.get("parameters") or {}
    needed = schema.get("required", ())
    told = []
    for name, about in schema.get("properties", {}).items():
        notes = [note for note in (about.get("description"), None if name in needed else "optional") if note]
        told.append(f"{name} ({', '.join(notes)})" if notes else name)
    said = " ".join(request.split())
    parameters = ", ".join(told) or "none"
    return f"{_FEW}Tool: {function['name']}: {text}\nParameters: {parameters}\nRequest: {said}\nArguments:"


def quotes(request: str) -> list[str]:
    """Return the runs of words in a request, without marks at their ends, and the whole request."""
    words = request.split()
    runs = [
        " ".join(words[first:end])
        for first in range(len(words))
        for end in range(first + 1, min(first + _MOST_QUOTE, len(words)) + 1)
    ]
    stripped = (re.sub(r"^\W+|\W+$", "", run) for run in [*runs, " ".join(words)])
    return list(dict.fromkeys(filter(None, stripped)))


def values(request: str, about: str) -> list[str]:
    """Return the runs of words that could be a value beyond what the tool is `about`: names, places."""
    known = content_words(about)
    return [
        run
        for run in quotes(request)
        if len(words := run.split()) <= _MOST_VALUE
        and not {words[0].lower(), words[-1].lower()} & COMMON
        and not content_words(run) & known
    ]


def bound_schema(schema: dict[str, Any], request: str, about: str = "") -> dict[str, Any]:
    """Return `schema` with free text bound to words of the request.

    A small model quotes better than it writes. Values with a rule of their own (enum, pattern, format,
    length) stay free within it; an optional argument that may be null is left out instead.
    Optional text is bound to `values`, so that it is left out rather than filled with the request itself.
    """
    found = quotes(request)
    enums = [item.get("enum", []) for item in schema.get("properties", {}).values()]
    extra = values(request, f"{about} {json.dumps(enums)}")

    def walk(node: Any, names: bool = False) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        if names:  # the keys are the arguments' names, and one may be called default
            return {key: walk(value) for key, value in node.items()}
        if node.get("type") == "string" and found and not any(key in node for key in _BOUND):
            return {"enum": found}
        if "anyOf" in node and "default" in node:
            some = [walk(item) for item in node["anyOf"] if item.get("type") != "null"]
            return some[0] if len(some) == 1 else {"anyOf": some}
        if node.get("type") == "array" and "maxItems" not in node:
            node = {**node, "maxItems": max(8, node.get("minItems", 0))}
        kept = {key: value for key, value in node.items() if key not in ("default", "description")}
        return {key: walk(value, names=key == "properties") for key, value in kept.items()}

    out: dict[str, Any] = walk(schema or {"type": "object", "properties": {}})
    for name, rules in list(out.get("properties", {}).items()):
        if name in schema.get("required", ()) or "enum" not in rules:
            continue
        # A choice that nobody named is left to the function's default; one that is named is taken.
        rules["enum"] = extra if rules["enum"] == found else _named(rules["enum"], request)
        if not rules["enum"]:
            del out["properties"][name]
        elif len(rules["enum"]) == 1 and rules["enum"] != extra:
            out["required"] = [*out.get("required", ()), name]
    return {**out, "additionalProperties": out.get("additionalProperties", False)}


def _named(choices: list[Any], request: str) -> list[Any]:
    said = content_words(request)
    return [choice for choice in choices if content_words(str(choice)) & said]


def about_tool(function: dict[str, Any]) -> str:
    """Return the words that belong to a tool whatever its arguments: names in its examples are left out."""
    text, _, examples = str(function.get("description", "")).partition(EXAMPLES)
    return " ".join((function["name"], text, *re.findall(r"\b[a-z]+", examples)))


class JsonGrammars:
    """Makes grammars for one tokenizer.

    Args:
        tokenizer: path of its ``tokenizer.json``.
        vocab_size: of the language model, which may be padded.
    """

    def __init__(self, tokenizer: Path, vocab_size: int):
        self._path = tokenizer
        self._vocab_size = vocab_size

    @cached_property
    def _tokenizer(self) -> "LLTokenizer":
        from llguidance import LLTokenizer

        return LLTokenizer(str(self._path), n_vocab=self._vocab_size)

    def make(self, schema: dict[str, Any]) -> "JsonGrammar":
        """Return the grammar of JSON texts, on one line, that `schema` allows.

        Raises:
            InputError: the schema uses what cannot be decoded under.
        """
        from llguidance import LLMatcher

        layout = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        try:
            rules = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=layout)  # type: ignore[arg-type]
            # The leading blank keeps the tokens those that the prompt's examples have.
            matcher = LLMatcher(self._tokenizer, rules)
        except ValueError as error:
            raise InputError(f"a tool's schema cannot be used ({str(error).splitlines()[0]})") from None
        if problem := matcher.get_error():
            raise InputError(f"a tool's schema cannot be used ({problem.splitlines()[0]})")
        return JsonGrammar(matcher, self._vocab_size)


class JsonGrammar:
    """The grammar of one JSON text, for `stepaudio.lm.generate`; follows one row."""

    def __init__(self, matcher: "LLMatcher", vocab_size: int):
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._read = 0

    @property
    def complete(self) -> bool:
        """Whether what was read is a whole JSON text."""
        return bool(self._matcher.is_accepting())

    def read(self, generated: Sequence[int]) -> None:
        """Read the ids that are new."""
        for token in generated[self._read :]:
            self._matcher.consume_token(token)
        self._read = len(generated)

    def phase(self, generated: Sequence[int]) -> Phase:
        """Return what may come after `generated`."""
        self.read(generated)
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        legal = np.unpackbits(bits, bitorder="little")[: self._vocab_size].astype(bool)
        return Phase("text", torch.from_numpy(legal))
