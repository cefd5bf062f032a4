"""Client of an OpenAI-compatible server (vLLM): the way to Step-Audio-Chat 130B and other large models."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from stepaudio.cancel import CancelToken
from stepaudio.errors import ModelError
from stepaudio.lm.prompts.messages import Message
from stepaudio.serving.abort import Abort
from stepaudio.serving.endpoint import RemoteError, Server
from stepaudio.serving.wire import (
    AudioText,
    ChatOptions,
    Event,
    ReplyState,
    finish_reply,
    push_chunk,
    request_body,
    server_events,
    start_reply,
)

if TYPE_CHECKING:
    import httpx

_MOST_ERROR_BYTES = 65_536


class _Retry(Exception):
    """A failure before the first token that may pass; holds the error to raise when it does not."""

    def __init__(self, error: RemoteError, wait: float | None = None):
        super().__init__(str(error))
        self.error = error
        self.wait = wait


class OpenAIClient:
    """Streams replies of one served model; thread-safe, holds no connection between calls.

    Args:
        server: where.
        audio_text: turns sound into ``<audio_N>`` text, for the ``step-audio`` dialect.
        sleep: waits between tries.
        jitter: random numbers in [0, 1).
    """

    def __init__(
        self,
        server: Server,
        *,
        audio_text: AudioText | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ):
        self.server = server
        self._audio_text = audio_text
        self._sleep = sleep
        self._jitter = jitter

    def stream(
        self,
        messages: Sequence[Message],
        options: ChatOptions | None = None,
        *,
        cancel: CancelToken | None = None,
    ) -> Iterator[Event]:
        """Yield the reply as it comes, ending with `Finished`; stops without it when `cancel` is stale.

        Raises:
            InputError: the messages cannot be sent to this server.
            RemoteError: refused, wrong key or model, timeout, or broken off; with the text so far.
        """
        body = request_body(
            self.server.model,
            messages,
            options or ChatOptions(),
            dialect=self.server.dialect,
            audio_text=self._audio_text,
        )
        attempt = 0
        while not _stale(cancel):
            try:
                yield from self._try(body, cancel)
                return
            except _Retry as failure:
                if attempt >= self.server.retries:
                    raise failure.error from None
                self._wait(attempt, failure.wait, cancel)
                attempt += 1

    def models(self) -> list[str]:
        """Return the names the server serves.

        Raises:
            RemoteError: it cannot be reached, or does not answer as such a server does.
        """
        try:
            with self._request("GET", "/models", None, None) as response:
                self._check_status(response)
                return [str(item["id"]) for item in json.loads(response.read())["data"]]
        except _Retry as failure:
            raise failure.error from None
        except self._broken as error:
            raise self._failure(error, "") from None
        except (ValueError, KeyError, TypeError):
            raise RemoteError(f"{self.server.url}: the list of models is not readable") from None

    def _try(self, body: dict[str, Any], cancel: CancelToken | None) -> Iterator[Event]:
        state, begun, ended = start_reply(), False, False
        try:
            with self._request("POST", "/chat/completions", body, cancel) as response:
                self._check_status(response)
                for data in server_events(response.iter_lines()):
                    if _stale(cancel):
                        return
                    ended = data == "[DONE]"
                    if ended:
                        break
                    for event in self._read(state, data):
                        begun = True
                        yield event
        except _Retry:
            if _stale(cancel):
                return
            raise
        except self._broken as error:
            if _stale(cancel):
                return
            failure = self._failure(error, state.text)
            if begun or isinstance(error, self._timeouts):
                raise failure from None
            raise _Retry(failure) from None
        if _stale(cancel):
            return
        if not ended and not state.reason:
            lost = RemoteError(f"{self.server.url}: the server broke the reply off", state.text)
            if begun:
                raise lost
            raise _Retry(lost)
        try:
            yield from finish_reply(state)
        except ValueError as error:
            raise RemoteError(f"{self.server.url}: unreadable tool call ({error})", state.text) from None

    def _read(self, state: ReplyState, data: str) -> list[Event]:
        try:
            chunk = json.loads(data)
            if problem := chunk.get("error"):
                reason = problem.get("message") if isinstance(problem, dict) else problem
                raise RemoteError(f"{self.server.url}: {self._clean(str(reason))}", state.text)
            return push_chunk(state, chunk)
        except (ValueError, TypeError, AttributeError) as error:
            reason = f"the server sent something unreadable ({self._clean(str(error))})"
            raise RemoteError(f"{self.server.url}: {reason}", state.text) from None

    @contextmanager
    def _request(
        self, method: str, path: str, body: dict[str, Any] | None, cancel: CancelToken | None
    ) -> "Iterator[httpx.Response]":
        httpx = _httpx()
        server = self.server
        key = os.environ.get(server.key_variable, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(server.read_timeout, connect=server.connect_timeout)
        abort = Abort(cancel)
        # Proxies from the environment are for other machines; redirects could carry the key elsewhere.
        client = httpx.Client(timeout=timeout, trust_env=not server.loopback, follow_redirects=False)
        with client, abort, self._connecting():
            url = server.url.rstrip("/") + path
            extensions = {"trace": abort.trace}
            with client.stream(method, url, json=body, headers=headers, extensions=extensions) as response:
                yield response

    @contextmanager
    def _connecting(self) -> Iterator[None]:
        httpx = _httpx()
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            reason = (
                "no connection in time" if isinstance(error, httpx.ConnectTimeout) else "connection refused"
            )
            if isinstance(error, httpx.ConnectError) and "refused" not in str(error).lower():
                reason = _one_line(str(error))
            raise _Retry(
                RemoteError(f"cannot reach {self.server.url}: {reason}; is the server running?")
            ) from None

    def _check_status(self, response: "httpx.Response") -> None:
        status = response.status_code
        if status == 200:
            return
        error = RemoteError(f"{self.server.url}: {self._explain(status, self._clean(_error_text(response)))}")
        if status == 429 or status >= 500:
            raise _Retry(error, _retry_after(response))
        raise error

    def _explain(self, status: int, said: str) -> str:
        variable = self.server.key_variable
        if status in (401, 403):
            has_key = bool(os.environ.get(variable, "").strip())
            return (
                f"the server refuses the key in {variable}"
                if has_key
                else f"the server wants a key: set {variable}"
            )
        if status == 404:
            return (
                f"no model {self.server.model!r} there, or not an OpenAI-compatible address; {self._served()}"
            )
        if status == 429:
            return f"too many requests ({said or status})"
        return f"the server answered {status}" + (f" ({said})" if said else "")

    def _served(self) -> str:
        try:
            return f"it serves: {', '.join(self.models())}"
        except RemoteError:
            return "it lists no models"

    def _clean(self, text: str) -> str:
        """Return a server's words in one line; some echo the key they refuse."""
        key = os.environ.get(self.server.key_variable, "").strip()
        return _one_line(text.replace(key, "***") if key else text)

    def _failure(self, error: Exception, text: str) -> RemoteError:
        if isinstance(error, self._timeouts):
            return RemoteError(f"{self.server.url}: no answer for {self.server.read_timeout:g} s", text)
        return RemoteError(f"{self.server.url}: the connection broke ({_one_line(str(error))})", text)

    @property
    def _broken(self) -> tuple[type[Exception], ...]:
        httpx = _httpx()
        return (httpx.TransportError, httpx.StreamError, httpx.DecodingError)

    @property
    def _timeouts(self) -> tuple[type[Exception], ...]:
        return (_httpx().TimeoutException,)

    def _wait(self, attempt: int, asked: float | None, cancel: CancelToken | None) -> None:
        server = self.server
        wait = min(server.backoff * 2**attempt, server.most_backoff) * (0.5 + 0.5 * self._jitter())
        if asked is not None:
            wait = min(max(asked, wait), server.most_backoff)
        while wait > 0 and not _stale(cancel):
            step = min(wait, 0.05) if cancel is not None else wait
            self._sleep(step)
            wait -= step


def _error_text(response: "httpx.Response") -> str:
    """Return what an error response says, bounded."""
    raw = b""
    with suppress(Exception):
        for block in response.iter_bytes():
            raw += block
            if len(raw) > _MOST_ERROR_BYTES:
                break
    text = raw.decode("utf-8", "replace")
    try:
        value = json.loads(text)
        problem = value.get("error", value) if isinstance(value, dict) else value
        text = (
            str(problem.get("message") or problem.get("detail") or "")
            if isinstance(problem, dict)
            else str(problem)
        )
    except ValueError:
        text = "" if "<html" in text.lower() else text
    return text


def _retry_after(response: "httpx.Response") -> float | None:
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _stale(cancel: CancelToken | None) -> bool:
    return cancel is not None and cancel.cancelled


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise ModelError("talking to a server needs httpx: pip install 'stepaudio[official]'") from None
    return httpx
