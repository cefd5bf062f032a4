"""A small real HTTP server on loopback that speaks the OpenAI routes, in front of anything."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serve(routes):
    """Serve `routes`: path -> function of body and headers, giving status, type and bytes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer(b"")

        def do_POST(self):
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body):
            route = routes.get(self.path.removeprefix("/v1"))
            status, kind, data = route(body, self.headers) if route else (404, "text/plain", b"no such route")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def as_json(value, status=200):
    return status, "application/json", json.dumps(value).encode()


def as_stream(*deltas):
    """Chat deltas as server-sent events."""
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]
    return 200, "text/event-stream", "".join(lines).encode()


def models(*names):
    return lambda body, headers: as_json({"data": [{"id": name} for name in names]})
