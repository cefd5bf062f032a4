"""A peer for the language model: plain transformers with the same weights in float32."""

import time
from pathlib import Path
from typing import Any

from stepaudio.errors import ModelError


def load_transformers(folder: Path) -> Any:
    """Return the language model of a folder as transformers' Llama, in float32.

    Raises:
        ModelError: transformers is not installed, or the folder cannot be read.
    """
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError:
        raise ModelError("transformers is not installed (pip install transformers)") from None
    from stepaudio.lm.blocks import dequantise
    from stepaudio.lm.config import LMConfig
    from stepaudio.lm.weights import read_weights

    config = LMConfig.read(folder)
    names = LlamaConfig().to_dict().keys() & LMConfig.model_fields.keys()
    sizes = {name: getattr(config, name) for name in names - {"eos_token_id"}}
    model = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    state = {name: dequantise(weight).float() for name, weight in read_weights(folder).items()}
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    return model


def tokens_per_second(model: Any, prompt: list[int], new_tokens: int) -> float:
    """Return the speed of `generate`, greedy, the prompt and the first token not counted."""
    import torch

    ids = torch.tensor([prompt])
    times = {}
    for count in (1, new_tokens):
        started = time.perf_counter()
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=count,
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        times[count] = time.perf_counter() - started
    return (new_tokens - 1) / (times[new_tokens] - times[1])
