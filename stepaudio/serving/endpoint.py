"""Where a model is served, and the error of a server that fails."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from stepaudio.errors import InputError, ModelError
from stepaudio.serving.wire import Dialect


class RemoteError(ModelError):
    """A server failed us.

    Attributes:
        partial_text: what it had already said when it broke off.
    """

    def __init__(self, message: str, partial_text: str = ""):
        super().__init__(message)
        self.partial_text = partial_text


@dataclass(frozen=True)
class Server:
    """Where a model is served, and how patient to be.

    Attributes:
        url: base address, with its ``/v1``.
        model: the name it is served under.
        dialect: how sound is sent, and which extensions are understood.
        key_variable: environment variable that holds the API key; unset means none is sent. The key itself is
            never kept here, printed or put into an error.
        connect_timeout: seconds to get a connection.
        read_timeout: seconds without a byte before the server counts as stuck.
        retries: further tries before the first token, for refused connections, 429 and 5xx.
        backoff: seconds before the first further try; doubles each time, up to `most_backoff`, times a random
            factor of 0.5 to 1.
        most_backoff: cap, also on what the server asks for in ``Retry-After``.
    """

    url: str
    model: str
    dialect: Dialect = "openai"
    key_variable: str = "STEPAUDIO_API_KEY"
    connect_timeout: float = 10.0
    read_timeout: float = 120.0
    retries: int = 4
    backoff: float = 0.5
    most_backoff: float = 20.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{self.url!r} is not a server address; give one like http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise InputError("a server address must not hold a password; put the key into the environment")

    @property
    def loopback(self) -> bool:
        """Whether the server runs on this machine."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "::1", "localhost")
