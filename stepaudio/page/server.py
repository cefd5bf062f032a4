"""Serving the page: one FastAPI application with the page and the sound of its replies."""

import socket
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from stepaudio.errors import InputError
from stepaudio.page.layout import build
from stepaudio.page.loudspeaker import Loudspeaker

if TYPE_CHECKING:
    from stepaudio.api import StepAudio

MAX_UPLOAD = "50mb"


def application(sa: "StepAudio", voices: list[str]) -> Any:
    """Return the ASGI application of the page: ``/`` is the page, ``/speech/TICKET`` a reply's PCM."""
    import gradio as gr
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import StreamingResponse

    loudspeaker = Loudspeaker(sa.family.mouth.sample_rate)
    app = FastAPI(title="stepaudio", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/speech/{ticket}")
    def speech(ticket: str) -> StreamingResponse:
        pieces = loudspeaker.listen(ticket)
        if pieces is None:
            raise HTTPException(404, "no such reply, or it was already played")
        rate = {"X-Sample-Rate": str(loudspeaker.sample_rate), "Cache-Control": "no-store"}
        return StreamingResponse(pieces, media_type="application/octet-stream", headers=rate)

    player = files("stepaudio.page").joinpath("player.js").read_text("utf-8")
    page = build(sa, voices, loudspeaker).queue()
    # System fonts: the page must look the same without a network.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    head = f"<script>{player}</script>"
    gr.mount_gradio_app(
        app, page, path="/", max_file_size=MAX_UPLOAD, theme=theme, head=head, show_error=True, ssr_mode=False
    )
    return app


def serve(model: str, *, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Load `model` and serve its page until Ctrl-C; port 0 takes any free one.

    Raises:
        InputError: Gradio is not installed, or the address is taken.
        ModelError: the model cannot be loaded.
    """
    import os

    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio  # noqa: F401
        import uvicorn
    except ImportError:
        raise InputError("the page needs Gradio: pip install 'stepaudio[demo]'") from None
    from stepaudio.api import load
    from stepaudio.voices import list_voices

    listener = _listen(host, port)
    tell("Loading the model …")
    sa = load(model)
    sa.warm_up()
    app = application(sa, [voice.name for voice in list_voices(sa.voice(None).info.family)])
    shown = f"[{host}]" if ":" in host else host
    tell(f"Open http://{shown}:{listener.getsockname()[1]} in a browser; Ctrl-C ends it.")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Take the address before the model is loaded, so that a taken port is known at once."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise InputError(f"the page cannot listen on {host}:{port} ({error.strerror or error})") from None
    return listener
