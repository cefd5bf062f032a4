"""Language models: configuration and shards checked, then linked or copied as they are."""

from typing import Any

from pydantic import ValidationError

from stepaudio.convert.draft import Draft
from stepaudio.convert.shapes import check_shapes, encoder_shapes, lm_shapes
from stepaudio.convert.shards import INDEX, find_shards
from stepaudio.convert.source import SourceFolder
from stepaudio.encoder import EncoderConfig
from stepaudio.errors import ModelError
from stepaudio.lm.config import LMConfig

CONFIG = "config.json"
# Beside the weights: texts that the tokenizer needs. Python files and shared objects stay behind.
_TEXTS = (
    "tokenizer_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "generation_config.json",
)
_SENTENCEPIECE = "tokenizer.model"
_ENCODER_NAMES = {
    "n_mels": "n_mels",
    "n_audio_ctx": "n_ctx",
    "n_audio_state": "n_state",
    "n_audio_head": "n_head",
    "n_audio_layer": "n_layer",
    "llm_dim": "llm_dim",
    "kernel_size": "adaptor_kernel",
    "adapter_stride": "adaptor_stride",
    "adapter_hidden": "adaptor_hidden",
}


def convert_language_model(folder: SourceFolder, draft: Draft, into: str = "") -> None:
    """Bring over `config.json`, the tokenizer's files and the shards of a step1 or Step-Audio 2 folder.

    Raises:
        ModelError: something is missing or damaged, or the weights do not fit `config.json`.
    """
    data = folder.json(CONFIG)
    try:
        config = LMConfig.from_official(data)
    except (AttributeError, TypeError, ModelError) as error:
        raise ModelError(f"{folder.root}/{CONFIG}: {error}") from None
    wanted = lm_shapes(config)
    draft.parameters[f"{into}language model"] = check_shapes("", wanted, wanted)
    if data.get("model_type") == "step_audio_2":
        encoder = encoder_shapes(read_encoder(data, f"{folder.root}/{CONFIG}"))
        draft.parameters[f"{into}audio encoder"] = check_shapes("", encoder, encoder)
        wanted = {**wanted, **encoder}
    if not folder.has(_SENTENCEPIECE) and not any(folder.has(name) for name in _TEXTS[1:3]):
        raise ModelError(
            f"{folder.root}: the tokenizer is missing ({_SENTENCEPIECE}, {_TEXTS[1]} or {_TEXTS[2]})"
        )
    shards = find_shards(folder, wanted)
    draft.link(folder.file(CONFIG), into + CONFIG)
    if folder.has(INDEX):
        draft.link(folder.file(INDEX), into + INDEX)
    for name in (*_TEXTS, _SENTENCEPIECE):
        if folder.has(name):
            draft.link(folder.file(name), into + name)
    for name in shards:
        draft.link(folder.file(name), into + name)


def read_encoder(data: dict[str, Any], where: str) -> EncoderConfig:
    """Read the audio encoder's sizes from Step-Audio 2's `config.json`.

    Raises:
        ModelError: a value is missing, unknown or unusable.
    """
    part = data.get("audio_encoder_config")
    if not isinstance(part, dict):
        raise ModelError(f"{where}: audio_encoder_config is missing")
    # The codebook size is a leftover of Whisper's S3 variant; Hugging Face adds the other two.
    values = {
        key: value
        for key, value in part.items()
        if key not in ("n_codebook_size", "model_type", "_name_or_path")
    }
    if unknown := sorted(set(values) - set(_ENCODER_NAMES)):
        raise ModelError(f"{where}: audio_encoder_config has the unknown key {unknown[0][:80]}")
    try:
        return EncoderConfig(**{_ENCODER_NAMES[key]: value for key, value in values.items()})
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
