"""The caps on what a file may make us read, decode and hold."""

from dataclasses import dataclass

MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 768_000


@dataclass(frozen=True)
class Limits:
    """Three independent caps; passing any of them is an ``AudioError``.

    The defaults suit one's own recordings; a server that takes files of strangers wants tighter ones.

    Attributes:
        max_encoded_bytes: size of the file, checked while it is read.
        max_seconds: length of the decoded sound, counted as it is decoded, whatever the header says.
        max_decoded_bytes: float32 samples of all channels, counted before they are mixed to one, so
            that a forged sample rate or a thousand channels cannot get round the cap on seconds.
    """

    max_encoded_bytes: int = 512 * 2**20
    max_seconds: float = 1800.0
    max_decoded_bytes: int = 2**30

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**50:
                raise ValueError(f"Limits.{name} must be a positive number, not {value!r}")
