"""A small real HTTP server on loopback that speaks the chat-completions format, well or badly, by script."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def text_chunk(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def end_chunk(reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


@dataclass
class Answer:
    """What one request gets.

    Attributes:
        chunks: streamed objects; a string is sent as an event's raw data, a number is a pause in seconds, a
            `threading.Event` is waited for (`FakeServer.gave_up` is set if nobody sets it).
        status: HTTP status; other than 200 sends `error` as JSON.
        error: the error object, or text that is sent as it is.
        headers: further headers.
        done: end with ``[DONE]``.
        hang_up: close the connection before any byte of an answer.
    """

    chunks: list[Any] = field(default_factory=list)
    status: int = 200
    error: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = True
    hang_up: bool = False


@dataclass
class FakeServer:
    """The running server: gives the answers in order, the last one again and again."""

    url: str
    answers: list[Answer]
    models: list[str]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    closed_early: threading.Event = field(default_factory=threading.Event)
    gave_up: threading.Event = field(default_factory=threading.Event)
    key: str = ""

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serve(
    *answers: Answer, models: tuple[str, ...] = ("step-audio-chat",), key: str = ""
) -> Iterator[FakeServer]:
    """Run a server on a free port of 127.0.0.1 for the length of the block."""
    fake = FakeServer("", list(answers) or [Answer()], list(models), key=key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(lambda: fake))
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(get: Callable[[], FakeServer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            fake = get()
            self._json(200, {"data": [{"id": name} for name in fake.models]}) if self._allowed() else None

        def do_POST(self) -> None:
            fake = get()
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.requests.append(body)
            fake.headers.append(dict(self.headers))
            if not self._allowed():
                return
            if body["model"] not in fake.models:
                self._json(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
                return
            answer = fake.next_answer()
            if answer.hang_up:
                self.close_connection = True
                return
            if answer.status != 200:
                self._json(answer.status, answer.error, answer.headers)
                return
            self._stream(fake, answer)

        def _allowed(self) -> bool:
            fake = get()
            if fake.key and self.headers.get("Authorization") != f"Bearer {fake.key}":
                sent = self.headers.get("Authorization", "")
                self._json(401, {"error": {"message": f"Incorrect API key provided: {sent}"}})
                return False
            return True

        def _stream(self, fake: FakeServer, answer: Answer) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for chunk in answer.chunks:
                    if isinstance(chunk, (int, float)):
                        time.sleep(chunk)
                        continue
                    if isinstance(chunk, threading.Event):
                        if not chunk.wait(20):
                            fake.gave_up.set()
                        continue
                    data = chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False)
                    self._block(f"data: {data}\n\n")
                if answer.done:
                    self._block("data: [DONE]\n\n")
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                fake.closed_early.set()
            self.close_connection = True

        def _block(self, text: str) -> None:
            raw = text.encode()
            self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
            self.wfile.flush()

        def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
            raw = (value if isinstance(value, str) else json.dumps(value)).encode()
            self.send_response(status)
            for name, text in (headers or {}).items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    return Handler
