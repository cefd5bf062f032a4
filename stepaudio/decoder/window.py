"""Streaming for decoders without caches (Step-Audio): each chunk continues the frames already made.

The reference decodes whole utterances only. Here the prompt and the newest frames are the known part of the
flow, so a chunk joins what was given out; the work of a chunk is bounded by the prompt and the context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from stepaudio.decoder.config import StreamOptions
from stepaudio.decoder.noise import NoiseSource
from stepaudio.decoder.stream import StreamState

if TYPE_CHECKING:
    from stepaudio.decoder.flow import FlowDecoder


@dataclass(kw_only=True)
class WindowState(StreamState):
    """A stream that sees its prompt and its own last frames again.

    Attributes:
        prompt_codes: (batch, codes).
        prompt_mel: (batch, channels, frames).
        past_codes: newest codes decoded (batch, codes).
        past_mel: their frames (batch, channels, frames).
        codes: codes decoded.
    """

    prompt_codes: Tensor
    prompt_mel: Tensor
    past_codes: Tensor
    past_mel: Tensor
    codes: int = 0


def start_window(
    decoder: FlowDecoder,
    speaker: Tensor,
    prompt_codes: Tensor,
    prompt_mel: Tensor,
    noise: NoiseSource,
    steps: int | None,
    options: StreamOptions,
) -> WindowState:
    """A stream without a past."""
    return WindowState(
        speaker=speaker,
        noise=noise,
        steps=steps,
        options=options,
        lookahead=options.lookahead_codes,
        pending=prompt_codes[:, :0],
        prompt_codes=prompt_codes,
        prompt_mel=prompt_mel,
        past_codes=prompt_codes[:, :0],
        past_mel=prompt_mel[:, :, :0],
    )


def step_window(decoder: FlowDecoder, state: WindowState, codes: Tensor, last: bool) -> Tensor:
    """Decode a chunk of codes, look-ahead included unless it is the last: frames (batch, channels, T)."""
    own = codes.shape[1] - (0 if last else state.lookahead)
    ready = decoder.config.frames(state.codes + own) - state.frames
    seen = decoder.config.frames(state.codes + codes.shape[1]) - state.frames
    out = state.prompt_mel[:, :, :0]
    if ready:
        out = _decode(decoder, state, codes, seen)[:, :, :ready]
    _remember(decoder, state, codes[:, :own], out)
    return out


def _decode(decoder: FlowDecoder, state: WindowState, codes: Tensor, frames: int) -> Tensor:
    known, past = state.prompt_mel.shape[2], state.past_mel.shape[2]
    window = torch.cat((state.past_codes, codes), 1)
    segments = [(state.prompt_codes.shape[1], known), (window.shape[1], past + frames)]
    mu = decoder.encode(torch.cat((state.prompt_codes, window), 1), segments)
    stretches = [(0, known), (known + state.frames - past, past + frames)]
    noise = decoder.starting_noise(state.noise, len(codes), [each for each in stretches if each[1]])
    cond = F.pad(torch.cat((state.prompt_mel, state.past_mel), 2), (0, frames))
    return decoder.decoder.solve(noise, mu, state.speaker, cond, steps=state.steps)[:, :, known + past :]


def _remember(decoder: FlowDecoder, state: WindowState, codes: Tensor, mel: Tensor) -> None:
    state.codes += codes.shape[1]
    state.frames += mel.shape[2]
    state.past_codes = torch.cat((state.past_codes, codes), 1)
    state.past_mel = torch.cat((state.past_mel, mel), 2)
    if (drop := state.past_codes.shape[1] - state.options.context_codes) > 0:
        begin = state.codes - state.past_codes.shape[1]
        frames = decoder.config.frames(begin + drop) - decoder.config.frames(begin)
        state.past_codes, state.past_mel = state.past_codes[:, drop:], state.past_mel[:, :, frames:]
