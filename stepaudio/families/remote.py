"""A mind that lives on a server: Step-Audio-Chat 130B, Step-Audio 2 or any other model behind vLLM."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from stepaudio.cancel import CancelToken
from stepaudio.lm.prompts.messages import Message, ToolCallPart
from stepaudio.lm.prompts.tool_calls import render_call
from stepaudio.serving.endpoint import RemoteError
from stepaudio.serving.openai_client import OpenAIClient
from stepaudio.serving.wire import ChatOptions, SpeechDelta, TextDelta, ToolCalls


class RemoteMind:
    """Text deltas from a served model.

    Args:
        client: of the server.
        options: how to generate. Where they declare tools, `stream` writes calls into the text in the
            families' own syntax, which ``tool_calls.parse_reply`` reads.
    """

    def __init__(self, client: OpenAIClient, options: ChatOptions | None = None):
        self.client = client
        self.options = options or ChatOptions()

    def load(self) -> object:
        """Ask the server for its models, so that a wrong address, key or name shows at once.

        Raises:
            RemoteError: it cannot be reached, or does not serve the model.
        """
        served = self.client.models()
        name = self.client.server.model
        if name not in served:
            raise RemoteError(
                f"{self.client.server.url}: no model {name!r} there; it serves: {', '.join(served)}"
            )
        return self.client

    def stream(self, messages: Sequence[Message], *, cancel: CancelToken | None = None) -> Iterator[str]:
        """Yield the reply to `messages`; see `OpenAIClient.stream` for errors."""
        for piece in self._stream(messages, self.options, cancel):
            yield piece if isinstance(piece, str) else render_call(piece)

    def stream_with_tools(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]],
        cancel: CancelToken | None = None,
    ) -> Iterator[str | ToolCallPart]:
        """Yield the reply to `messages` and the tools it calls; see `OpenAIClient.stream` for errors."""
        yield from self._stream(messages, replace(self.options, tools=tuple(tools)), cancel)

    def _stream(
        self, messages: Sequence[Message], options: ChatOptions, cancel: CancelToken | None
    ) -> Iterator[str | ToolCallPart]:
        for event in self.client.stream(messages, options, cancel=cancel):
            if isinstance(event, (TextDelta, SpeechDelta)) and event.text:
                yield event.text
            elif isinstance(event, ToolCalls):
                yield from event.calls
