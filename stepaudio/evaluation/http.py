"""Plain requests to OpenAI-compatible servers, for what is not streamed: verdicts, transcriptions, speech."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from stepaudio.errors import InputError, ModelError
from stepaudio.serving.endpoint import RemoteError, Server

if TYPE_CHECKING:
    import httpx

_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Response:
    """A server's answer.

    Attributes:
        body: its bytes.
        first_byte_s: seconds until the first of them came.
    """

    body: bytes
    first_byte_s: float

    def json(self, url: str) -> dict[str, Any]:
        """Return the body as an object.

        Raises:
            RemoteError: it is not one.
        """
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RemoteError(f"{url}: the answer is not readable")
        return value


def parse_address(text: str) -> tuple[Server, dict[str, str]]:
    """Read ``http://HOST/v1#MODEL`` or ``…#MODEL?voice=NAME&dialect=NAME`` as a server and its options.

    Without a model, the server is asked which one it serves.

    Raises:
        InputError: not such an address, an unknown option, or several models to choose from.
        RemoteError: no model is given and the server does not answer.
    """
    parts = urlsplit(text)
    model, _, query = parts.fragment.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := set(options) - {"voice", "dialect"}:
        raise InputError(f"{text}: unknown option {sorted(unknown)[0]}; there are: voice, dialect")
    if options.get("dialect", "openai") not in ("openai", "step-audio-2"):
        raise InputError(f"{text}: the dialect is openai or step-audio-2")
    url = urlunsplit(parts._replace(fragment=""))
    dialect: Any = options.get("dialect", "openai")
    # The runner tries again by itself, with its own patience.
    server = Server(url, model, dialect, retries=0)
    if model:
        return server, options
    from stepaudio.serving.openai_client import OpenAIClient

    served = OpenAIClient(server).models()
    if len(served) != 1:
        raise InputError(f"{text}: say which model, as {url}#MODEL; it serves: {', '.join(served) or 'none'}")
    return Server(url, served[0], dialect, retries=0), options


def post(server: Server, path: str, *, body: dict[str, Any] | None = None, **form: Any) -> Response:
    """Send a POST request.

    Args:
        server: where.
        path: below the server's address, for example ``/audio/speech``.
        body: a JSON body.
        form: ``data`` and ``files`` of a form instead.

    Raises:
        RemoteError: it cannot be reached, breaks off or answers with an error; never holds the key.
    """
    started = time.perf_counter()
    with request(server, path, body, **form) as response:
        data, first = b"", None
        for block in response.iter_bytes():
            first = first or time.perf_counter() - started
            data += block
            if len(data) > _MOST_BYTES:
                raise RemoteError(f"{server.url}: the answer is larger than {_MOST_BYTES >> 20} MB")
    return Response(data, first if first is not None else time.perf_counter() - started)


@contextmanager
def request(
    server: Server, path: str, body: dict[str, Any] | None = None, **form: Any
) -> "Iterator[httpx.Response]":
    """Open a POST request whose answer is read by the caller; raises as `post`."""
    try:
        import httpx
    except ImportError:
        raise ModelError("talking to a server needs httpx: pip install 'stepaudio[eval]'") from None
    key = os.environ.get(server.key_variable, "").strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(server.read_timeout, connect=server.connect_timeout)
    url = server.url.rstrip("/") + path
    try:
        # Proxies from the environment are for other machines; redirects could carry the key elsewhere.
        with (
            httpx.Client(timeout=timeout, trust_env=not server.loopback, follow_redirects=False) as client,
            client.stream("POST", url, json=body, headers=headers, **form) as response,
        ):
            if response.status_code != 200:
                said = " ".join(response.read()[:2000].decode("utf-8", "replace").split())[:200]
                raise RemoteError(f"{server.url}: the server answered {response.status_code} ({said})")
            yield response
    except httpx.TimeoutException:
        raise RemoteError(f"{server.url}: no answer in time") from None
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise RemoteError(f"cannot talk to {server.url}: {' '.join(str(error).split())[:200]}") from None
