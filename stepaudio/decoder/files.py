"""A speech decoder's folder: the names of its files, and its configuration."""

from pathlib import Path

from pydantic import ValidationError

from stepaudio.decoder.config import FlowConfig, Strict
from stepaudio.decoder.hift_config import HiftConfig
from stepaudio.errors import ModelError

FLOW, HIFT, CONFIG, SPEAKER = "flow.safetensors", "hift.safetensors", "decoder.json", "campplus.onnx"
SPEECH_FOLDER, MUSIC_FOLDER = "decoder", "decoder-music"


class DecoderConfig(Strict):
    """A speech decoder, the content of `decoder.json`: codes to mel, mel to sound."""

    flow: FlowConfig
    hift: HiftConfig


def read_config(folder: Path) -> DecoderConfig:
    """Read `decoder.json`.

    Raises:
        ModelError: it is missing or not valid.
    """
    path = folder / CONFIG
    try:
        return DecoderConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise ModelError(f"{path}: {where}: {first['msg']}") from None
