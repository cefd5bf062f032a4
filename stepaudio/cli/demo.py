"""`stepaudio demo`: the voice chat page."""

from typing import Annotated

import typer

from stepaudio.cli.common import Model, tell


def demo(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 7860,
    model: Model = "nano",
) -> None:
    """Open a page in which you can talk with the model."""
    from stepaudio.page.server import serve

    serve(model, host=host, port=port, tell=tell)
