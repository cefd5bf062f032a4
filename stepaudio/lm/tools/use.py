"""nano's use of tools: which, with what arguments, and what is said of the result."""

import json
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from stepaudio.lm.prompts.messages import Message, ToolCallPart, ToolResultPart
from stepaudio.lm.sampling import Sampling
from stepaudio.lm.tools.arguments import MOST_TOKENS, JsonGrammars, about_tool, arguments_prompt, bound_schema
from stepaudio.lm.tools.choice import Chooser, choose, scores, start_chooser
from stepaudio.lm.tools.telling import tell

if TYPE_CHECKING:
    from stepaudio.cancel import CancelToken
    from stepaudio.lm.mind import NanoMind


class ToolUser:
    """Calls tools for a mind; safe to use from several threads.

    Args:
        mind: has the language model.
    """

    kept_sets = 4  # sets of tools that stay read

    def __init__(self, mind: "NanoMind"):
        self._mind = mind
        self._choosers: dict[str, Chooser] = {}
        self._lock = Lock()
        self._grammars = JsonGrammars(mind.folder / "tokenizer.json", mind.model.config.vocab_size)

    def scores(self, request: str, tools: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Return how much each tool is wanted; above 0 is a yes."""
        from stepaudio.lm.threads import cores

        with self._lock, cores(self._mind.manner.cores):
            return scores(self._chooser(tools), request)

    def call(
        self, request: str, tools: Sequence[dict[str, Any]], *, cancel: "CancelToken | None" = None
    ) -> ToolCallPart | None:
        """Return the call that `request` needs, or ``None``.

        Raises:
            InputError: the schema of the tool cannot be decoded under.
        """
        from stepaudio.lm.threads import cores

        with self._lock, cores(self._mind.manner.cores):
            name = choose(self._chooser(tools), request)
        if name is None:
            return None
        function = next(tool["function"] for tool in tools if tool["function"]["name"] == name)
        arguments = self.arguments(function, request, cancel=cancel)
        return None if arguments is None else ToolCallPart(name, arguments)

    def arguments(
        self, function: dict[str, Any], request: str, *, cancel: "CancelToken | None" = None
    ) -> dict[str, Any] | None:
        """Return arguments that the function's schema allows; ``None`` when cancelled or without an end."""
        schema = function.get("parameters") or {}
        if not schema.get("properties"):
            return {}
        grammar = self._grammars.make(bound_schema(schema, request, about_tool(function)))
        prompt = self._mind.tokenizer.encode(arguments_prompt(function, request) + " ")
        greedy = Sampling(temperature=0)
        written: list[int] = []
        for token in self._mind.ids(
            prompt, sampling=greedy, max_new_tokens=MOST_TOKENS, grammar=grammar, cancel=cancel
        ):
            written.append(token)
            grammar.read(written)
            if grammar.complete:
                break
        if not grammar.complete:
            return None
        values: dict[str, Any] = json.loads(self._mind.tokenizer.decode(written))
        return values

    def tell(self, messages: Sequence[Message]) -> Iterator[str]:
        """Yield what is said of the results at the end of `messages`."""
        results: list[ToolResultPart] = []
        for message in reversed(messages):
            if message.role != "tool":
                break
            results = [part for part in message.parts if isinstance(part, ToolResultPart)] + results
        for place, result in enumerate(results):
            yield (" " if place else "") + tell(result.name, result.text, result.error)

    def _chooser(self, tools: Sequence[dict[str, Any]]) -> Chooser:
        key = json.dumps(list(tools), sort_keys=True)
        known = self._choosers.get(key)
        if known is None:
            if len(self._choosers) >= self.kept_sets:
                del self._choosers[next(iter(self._choosers))]
            known = self._choosers[key] = start_chooser(self._mind.model, self._mind.tokenizer, tools)
        return known
