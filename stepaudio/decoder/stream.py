"""Streaming with caches (Step-Audio 2): a chunk costs the same wherever it stands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stepaudio.decoder.config import StreamOptions
from stepaudio.decoder.dit import DiT, DiTState
from stepaudio.decoder.noise import NoiseSource
from stepaudio.decoder.upsample import EncoderState, UpsampleConformerEncoder

if TYPE_CHECKING:
    from stepaudio.decoder.flow import FlowDecoder


@dataclass(kw_only=True)
class StreamState:
    """What every stream of codes remembers.

    Attributes:
        speaker: projected speaker (batch, channels).
        noise: where the starting noise comes from.
        steps: Euler steps, or None for the configuration's.
        options: how chunks are cut.
        lookahead: codes seen after a chunk.
        pending: codes not yet decoded (batch, number).
        chunks: chunks decoded.
        frames: frames given out.
    """

    speaker: Tensor
    noise: NoiseSource
    steps: int | None
    options: StreamOptions
    lookahead: int
    pending: Tensor
    chunks: int = 0
    frames: int = 0

    @property
    def next_chunk(self) -> int:
        """Codes of the chunk to come."""
        first = self.options.first_chunk_codes
        return first if first is not None and not self.chunks else self.options.chunk_codes

    def clone(self) -> StreamState:
        """A copy that can go another way; tensors are shared, they are never written in place."""
        return replace(self)


@dataclass(kw_only=True)
class CachedState(StreamState):
    """A stream through the up-sampling encoder and the DiT.

    Attributes:
        encoder: caches of the encoder.
        solver: caches of the estimator, one an Euler step.
        prompt_frames: frames of the prompt.
    """

    encoder: EncoderState
    solver: list[DiTState] = field(default_factory=list)
    prompt_frames: int

    def clone(self) -> CachedState:
        """A copy that can go another way; tensors are shared, they are never written in place."""
        solver = [state.clone() for state in self.solver]
        return replace(self, encoder=self.encoder.clone(), solver=solver)


def start_cached(
    decoder: FlowDecoder,
    speaker: Tensor,
    prompt_codes: Tensor,
    prompt_mel: Tensor,
    noise: NoiseSource,
    steps: int | None,
    options: StreamOptions,
) -> CachedState:
    """Fill the caches with the prompt, whose first codes serve as the look-ahead behind it."""
    encoder, estimator = decoder.encoder, decoder.decoder.estimator
    assert isinstance(encoder, UpsampleConformerEncoder)
    assert isinstance(estimator, DiT)
    official = options.cache == "official"
    state = CachedState(
        speaker=speaker,
        noise=noise,
        steps=steps,
        options=options,
        lookahead=encoder.lookahead,
        pending=prompt_codes[:, :0],
        encoder=encoder.start(),
        solver=[estimator.start(newest_first=official) for _ in range(steps or decoder.config.solver.steps)],
        prompt_frames=prompt_mel.shape[2],
    )
    if prompt_codes.shape[1]:
        # a prompt shorter than the look-ahead is repeated
        repeats = 1 + -(-encoder.lookahead // prompt_codes.shape[1])
        seen = prompt_codes.repeat(1, repeats)[:, : prompt_codes.shape[1] + encoder.lookahead]
        _advance(decoder, state, seen, last=False, cond=prompt_mel, offset=0)
    return state


def step_cached(decoder: FlowDecoder, state: CachedState, codes: Tensor, last: bool) -> Tensor:
    """Decode a chunk of codes, look-ahead included unless it is the last: frames (batch, channels, T)."""
    if state.options.cache == "official":
        offset = state.solver[0].length
    else:
        offset = state.prompt_frames + state.frames
    out = _advance(decoder, state, codes, last=last, cond=None, offset=offset)
    state.frames += out.shape[2]
    for step in state.solver:
        step.keep_ends(state.prompt_frames, state.options.keep_frames)
    if state.options.encoder_codes is not None:
        assert isinstance(decoder.encoder, UpsampleConformerEncoder)
        decoder.encoder.keep_last(state.encoder, state.options.encoder_codes)
    return out


def _advance(
    decoder: FlowDecoder, state: CachedState, codes: Tensor, *, last: bool, cond: Tensor | None, offset: int
) -> Tensor:
    assert isinstance(decoder.encoder, UpsampleConformerEncoder)
    hidden = decoder.encoder.push(state.encoder, decoder.input_embedding(codes), last=last)
    mu = decoder.encoder_proj(hidden).transpose(1, 2)
    noise = decoder.starting_noise(state.noise, len(codes), [(offset, mu.shape[2])])
    cond = torch.zeros_like(mu) if cond is None else cond
    return decoder.decoder.solve(noise, mu, state.speaker, cond, steps=state.steps, states=state.solver)
