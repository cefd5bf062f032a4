"""Speech on its way to a browser: one ticket a reply, 16-bit PCM by HTTP as it is made.

Gradio's own streaming sound needs an ffmpeg binary and buffers seconds; this needs neither.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Empty, Queue
from secrets import token_urlsafe
from threading import Lock

from stepaudio.audio import Audio
from stepaudio.audio.writing import to_int16

KEPT = 64  # replies that may wait to be fetched; older ones are given up
PATIENCE_S = 120.0  # how long a listener waits for the next piece before it goes away


@dataclass
class _Reply:
    pieces: "Queue[bytes | None]" = field(default_factory=Queue)


@dataclass
class Loudspeaker:
    """Hands the sound of many replies to whoever holds their tickets; safe from any thread."""

    sample_rate: int
    _replies: "OrderedDict[str, _Reply]" = field(default_factory=OrderedDict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def open(self) -> str:
        """Begin a reply and return its ticket."""
        ticket = token_urlsafe(16)
        with self._lock:
            self._replies[ticket] = _Reply()
            while len(self._replies) > KEPT:
                _, oldest = self._replies.popitem(last=False)
                oldest.pieces.put(None)
        return ticket

    def say(self, ticket: str, sound: Audio) -> None:
        """Add a piece to a reply; a ticket that was given up is ignored."""
        self._put(ticket, to_int16(sound.samples).tobytes())

    def close(self, ticket: str) -> None:
        """End a reply: its listener gets what is left and then the end."""
        self._put(ticket, None)

    def listen(self, ticket: str) -> Iterator[bytes] | None:
        """Return a reply's pieces (mono 16-bit little-endian PCM), once; ``None`` if it is unknown."""
        with self._lock:
            reply = self._replies.get(ticket)
        return None if reply is None else self._drain(ticket, reply)

    def _drain(self, ticket: str, reply: _Reply) -> Iterator[bytes]:
        try:
            while (piece := reply.pieces.get(timeout=PATIENCE_S)) is not None:
                yield piece
        except Empty:
            return
        finally:
            with self._lock:
                self._replies.pop(ticket, None)

    def _put(self, ticket: str, piece: bytes | None) -> None:
        with self._lock:
            reply = self._replies.get(ticket)
        if reply is not None:
            reply.pieces.put(piece)
