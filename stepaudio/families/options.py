"""What a person may choose when a family is loaded: where it runs and who does what it has no weights for."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepaudio.errors import InputError

if TYPE_CHECKING:
    from stepaudio.families.base import Ears
    from stepaudio.serving.endpoint import Server
    from stepaudio.serving.wire import Dialect


UNIFIED, CASCADE = "unified", "cascade"
PATHS = (UNIFIED, CASCADE)


@dataclass(frozen=True)
class Options:
    """Choices at loading; ``None`` asks the environment, then takes the default.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:N``; by default a GPU where there is one (``STEPAUDIO_DEVICE``).
        server: address of an OpenAI-compatible server that has the chat model (``STEPAUDIO_SERVER``).
        server_model: the name it is served under (``STEPAUDIO_SERVER_MODEL``).
        ears: name of a Whisper model that listens instead of the family's own (``STEPAUDIO_EARS``).
        path: ``unified``: the chat model hears the question; ``cascade``: it reads what the ears wrote down
            (``STEPAUDIO_PATH``); by default the better one for each task.
    """

    device: str | None = None
    server: str | None = None
    server_model: str | None = None
    ears: str | None = None
    path: str | None = None

    def from_environment(self) -> "Options":
        """Fill what is not given from the environment.

        Raises:
            InputError: there is no such path.
        """

        def choose(given: str | None, variable: str) -> str | None:
            return given or os.environ.get(variable, "").strip() or None

        path = choose(self.path, "STEPAUDIO_PATH")
        if path not in (None, *PATHS):
            raise InputError(f"there is no path {path!r}; choose {' or '.join(PATHS)}")
        return Options(
            choose(self.device, "STEPAUDIO_DEVICE"),
            choose(self.server, "STEPAUDIO_SERVER"),
            choose(self.server_model, "STEPAUDIO_SERVER_MODEL"),
            choose(self.ears, "STEPAUDIO_EARS"),
            path,
        )

    def torch_device(self) -> str:
        """Return the device to compute on.

        Raises:
            InputError: there is no such device here.
        """
        import torch

        if self.device is None:
            return "cuda" if torch.cuda.is_available() else "cpu"
        kind = self.device.partition(":")[0]
        if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
            raise InputError(f"device {self.device!r} is not one of this machine")
        return self.device

    def at_server(self, dialect: "Dialect", model: str) -> "Server | None":
        """Return the server to talk to, if there is one; `model` is the name to ask for by default.

        Raises:
            InputError: the address is not one.
        """
        from stepaudio.serving.endpoint import Server

        return Server(self.server, self.server_model or model, dialect) if self.server else None

    def whisper(self, *, pull: bool) -> "Ears | None":
        """Return Whisper's ears when they were asked for; raises `ModelError` when they are not here."""
        if self.ears is None:
            return None
        from stepaudio import hub
        from stepaudio.recognition import WhisperEars

        card = hub.load_card(self.ears)
        if card.family != "whisper":
            raise InputError(f"{self.ears} is not a Whisper model; try whisper-base")
        return WhisperEars(hub.ensure(card, pull=pull)[card.name])


def onnx_device(device: str) -> str:
    """Return ``cuda`` when `device` is a GPU and this onnxruntime can use it, else ``cpu``."""
    from stepaudio.onnx_session import PROVIDERS

    if not device.startswith("cuda"):
        return "cpu"
    import onnxruntime

    return "cuda" if PROVIDERS["cuda"] in onnxruntime.get_available_providers() else "cpu"
