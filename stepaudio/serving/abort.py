"""Ending an HTTP request from outside while it waits for bytes."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any

from stepaudio.cancel import CancelToken

_POLL_SECONDS = 0.05


class Abort:
    """Shuts the connection of one request down once its token is stale, so that a blocked read returns.

    Use as a context around the request, and give `trace` to it as httpx's extension of that name.
    """

    def __init__(self, cancel: CancelToken | None):
        self._cancel = cancel
        self._socket: socket.socket | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """Remember the connection when it is made."""
        if name == "connection.connect_tcp.complete" and self._cancel is not None:
            self._socket = info["return_value"].get_extra_info("socket")

    def __enter__(self) -> "Abort":
        if self._cancel is not None:
            self._thread = threading.Thread(target=self._watch, name="stepaudio-abort", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_POLL_SECONDS):
            if self._cancel is not None and self._cancel.cancelled and self._socket is not None:
                # Below TLS on purpose: the reader's own objects are not touched from this thread.
                with (
                    suppress(OSError, ValueError),
                    socket.socket(fileno=socket.dup(self._socket.fileno())) as twin,
                ):
                    twin.shutdown(socket.SHUT_RDWR)
                return
