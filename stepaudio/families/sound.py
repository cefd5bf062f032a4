"""Codes as they are written, turned into sound as it becomes ready."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from stepaudio.audio import Audio
from stepaudio.decoder.token2wav import Token2Wav, VoicePrompt

_PUSHED = 5  # codes handed over at once; how many does not change the sound


def stream_sound(
    decoder: Token2Wav, prompt: VoicePrompt, codes: Iterable[int], *, seed: int
) -> Iterator[Audio]:
    """Yield the sound of `codes` chunk by chunk; no codes give no sound."""
    state, waiting = None, list[int]()
    for code in codes:
        state = state or decoder.start(prompt, seed=seed)
        waiting.append(code)
        if len(waiting) == _PUSHED:
            yield from _audio(decoder, decoder.push(state, torch.tensor([waiting])))
            waiting = []
    if state is None:
        return
    if waiting:
        yield from _audio(decoder, decoder.push(state, torch.tensor([waiting])))
    yield from _audio(decoder, decoder.finish(state))


def _audio(decoder: Token2Wav, samples: np.ndarray) -> Iterator[Audio]:
    if samples.size:
        yield Audio(samples, decoder.sample_rate)
