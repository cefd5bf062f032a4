"""Choosing the next id: pure functions on logits, a configuration, and a sampler with explicit state."""

from stepaudio.lm.sampling.config import Sampling
from stepaudio.lm.sampling.legality import Grammar, IdSet, Pattern, Phase
from stepaudio.lm.sampling.sampler import Draw, SamplerState, sample, start_sampler

__all__ = [
    "Draw",
    "Grammar",
    "IdSet",
    "Pattern",
    "Phase",
    "SamplerState",
    "Sampling",
    "sample",
    "start_sampler",
]
