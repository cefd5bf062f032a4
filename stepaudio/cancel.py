"""Cancelling by generation: a token is stale for good once its generation is over; nothing late gets out."""

from dataclasses import dataclass, field
from threading import Lock


@dataclass(frozen=True)
class CancelToken:
    """One generation of a `Cancel`; hand it to the stages of one turn."""

    source: "Cancel"
    generation: int

    @property
    def cancelled(self) -> bool:
        """Whether this generation is over."""
        return self.generation != self.source.generation


@dataclass
class Cancel:
    """A counter that outdates every token given out before; safe to use from any thread.

    Unlike an event that is set and cleared, an old token can never become valid again.
    """

    generation: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def token(self) -> CancelToken:
        """Return the token of the generation that runs now."""
        return CancelToken(self, self.generation)

    def cancel(self) -> None:
        """End the current generation: all its tokens are cancelled from here on."""
        with self._lock:
            self.generation += 1
