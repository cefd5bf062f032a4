"""What a decoder-only language model looks like: one config for step1, Qwen2 and Llama shapes."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stepaudio.errors import ModelError


class LMConfig(BaseModel):
    """Shape of a decoder-only transformer (RMSNorm before each block, SwiGLU, grouped-query attention).

    Attributes:
        vocab_size: rows of the embedding table.
        hidden_size: width of the residual stream.
        intermediate_size: width of the feed-forward block.
        num_hidden_layers: number of blocks.
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads; must divide the query heads.
        head_dim: width of one head.
        max_position_embeddings: longest sequence, prompt included.
        rms_norm_eps: added to the variance.
        position: ``rope`` (rotary, halves rotated) or ``sqrt_alibi`` (bias ``-slope * sqrt(distance)``).
        rope_theta: base of the rotary frequencies.
        qkv_bias: whether q, k and v projections have a bias (Qwen2).
        tie_word_embeddings: whether the output head is the embedding table.
        bos_token_id: first id of a prompt, where the family has one.
        eos_token_ids: ids that end a reply.
        pad_token_id: id that fills shorter rows of a batch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    rms_norm_eps: float = Field(gt=0)
    position: Literal["rope", "sqrt_alibi"]
    rope_theta: float = Field(default=10_000.0, gt=0)
    qkv_bias: bool = False
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    pad_token_id: int = 0

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_key_value_heads must divide num_attention_heads")
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError("rotary positions need an even head_dim")
        return self

    @classmethod
    def from_official(cls, data: dict[str, Any]) -> "LMConfig":
        """Translate the ``config.json`` of an official folder (step1, Qwen2, Llama, Step-Audio 2).

        Keys that do not change the result (dtype, initialisation, library versions) are ignored.

        Raises:
            ModelError: unknown ``model_type``, a missing or bad value, or an option we do not compute.
        """
        kind = data.get("model_type")
        if kind == "step_audio_2":
            return cls.from_official({"model_type": "qwen2", **data.get("text_config", {}), "kind": kind})
        if kind not in {"step1", "qwen2", "llama"}:
            raise ModelError(f"language model type {kind!r} is not one of step1, qwen2, llama, step_audio_2")
        if data.get("rope_scaling"):
            raise ModelError(f"{kind}: rope_scaling is not supported")
        if data.get("use_sliding_window"):
            raise ModelError(f"{kind}: sliding window attention is not supported")
        if data.get("hidden_act", "silu") != "silu":
            raise ModelError(f"{kind}: hidden_act must be silu, not {data['hidden_act']!r}")
        try:
            heads = data["num_attention_heads"]
            groups = data.get("num_attention_groups") if kind == "step1" else None
            eos = data.get("eos_token_id", 3 if kind == "step1" else ())
            eos_ids = (eos,) if isinstance(eos, int) else tuple(eos or ())
            if data.get("kind") == "step_audio_2":
                # The reference's configuration class adds these to whatever the file says.
                eos_ids = tuple(dict.fromkeys((*eos_ids, 151643, 151645, 151665)))
            return cls(
                vocab_size=data["vocab_size"],
                hidden_size=data["hidden_size"],
                intermediate_size=data["intermediate_size"],
                num_hidden_layers=data["num_hidden_layers"],
                num_attention_heads=heads,
                num_key_value_heads=groups or data.get("num_key_value_heads") or heads,
                head_dim=data.get("head_dim") or data["hidden_size"] // heads,
                max_position_embeddings=data.get("max_position_embeddings") or data["max_seq_len"],
                rms_norm_eps=data["rms_norm_eps"],
                position="sqrt_alibi" if kind == "step1" else "rope",
                rope_theta=_rope_theta(data),
                qkv_bias=kind == "qwen2" or bool(data.get("attention_bias", False)),
                # step1's config.json is silent and newer readers then tie, which ruins it; it never is.
                tie_word_embeddings=kind != "step1" and bool(data.get("tie_word_embeddings", False)),
                bos_token_id=data.get("bos_token_id"),
                eos_token_ids=eos_ids,
                pad_token_id=data.get("pad_token_id") or 0,
            )
        except (KeyError, TypeError) as error:
            raise ModelError(f"{kind}: config lacks or misstates {error}") from error
        except ValidationError as error:
            raise ModelError(f"{kind}: {_first(error)}") from error

    @classmethod
    def read(cls, folder: Path) -> "LMConfig":
        """Read our own ``lm.json`` from `folder`, or else the official ``config.json``.

        Raises:
            ModelError: neither is there, or it is not valid.
        """
        for name, build in (("lm.json", cls.model_validate), ("config.json", cls.from_official)):
            path = folder / name
            if path.is_file():
                try:
                    return build(json.loads(path.read_text(encoding="utf-8")))
                except ValidationError as error:
                    raise ModelError(f"{path}: {_first(error)}") from error
                except (ValueError, AttributeError, UnicodeDecodeError) as error:
                    raise ModelError(f"{path}: not a language model's configuration: {error}") from error
        raise ModelError(f"{folder}: no lm.json or config.json")


def _rope_theta(data: dict[str, Any]) -> float:
    nested = data.get("rope_parameters") or {}
    return float(
        data.get("rope_theta") or nested.get("rope_theta") or LMConfig.model_fields["rope_theta"].default
    )


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(piece) for piece in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"].removeprefix("Value error, ")
