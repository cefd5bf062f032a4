"""Streaming vocoder: mel pieces in, sound out, joined by a cross-fade over a few repeated frames."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stepaudio.decoder.hift import Hift

OVERLAP_FRAMES = 8


@dataclass(eq=False)
class HiftState:
    """What one stream remembers between pieces; a fresh one is made by `HiftStream.start`."""

    mel: Tensor
    source: Tensor
    speech: Tensor
    phase: Tensor
    generator: torch.Generator = field(repr=False)


@dataclass(frozen=True, eq=False)
class HiftStream:
    """Drive a `Hift` piece by piece, as Step-Audio 2's token2wav does.

    The last `overlap` frames of a piece are synthesised again with the next one: the source signal of that
    stretch is kept, and the two results are cross-faded with the halves of a Hamming window. Sound is
    therefore held back by `overlap` frames until the last piece. At the joins it differs from offline
    synthesis, whose F0 predictor and convolutions see past the edge of a piece.

    Attributes:
        hift: the vocoder.
        overlap: frames repeated between pieces.
        silent: feed no noise and zero start phases (for tests of parity).
    """

    hift: Hift
    overlap: int = OVERLAP_FRAMES
    silent: bool = False

    def start(self, seed: int | None = None) -> HiftState:
        """Begin a stream; the same seed gives the same sound for the same pieces."""
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        config = self.hift.config
        window = self.hift.window
        phase = self.hift.m_source.initial_phase(1, generator)
        return HiftState(
            mel=window.new_zeros(1, config.mel_bins, 0),
            source=window.new_zeros(1, 1, 0),
            speech=window.new_zeros(1, 0),
            phase=(torch.zeros_like(phase) if self.silent else phase).to(window.device),
            generator=generator,
        )

    @torch.inference_mode()
    def push(self, state: HiftState, mel: Tensor, *, last: bool = False) -> Tensor:
        """Add a piece of log-mel [1, bins, frames] and return the sound [1, samples] that is now final.

        Args:
            state: the stream's state, changed in place.
            mel: the new frames; may be empty.
            last: no more frames follow: nothing is held back, and the state is left empty.
        """
        mel = torch.cat([state.mel, mel.to(state.mel)], dim=-1)
        fresh = mel.shape[-1] - state.mel.shape[-1]
        if fresh == 0:
            return self.finish(state) if last else state.speech[:, :0]
        samples_per_frame = self.hift.config.samples_per_frame
        source = self._source(state, mel)
        source[:, :, : state.source.shape[-1]] = state.source
        speech = self.hift(mel, source)
        seam = state.speech.shape[-1]
        if seam:
            window = torch.hamming_window(2 * seam, periodic=False, dtype=torch.float64).to(speech)
            faded = speech[:, :seam] * window[:seam] + state.speech * window[seam:]
            speech = torch.cat([faded, speech[:, seam:]], dim=-1)
        kept = 0 if last else min(self.overlap, mel.shape[-1])
        cut = (mel.shape[-1] - kept) * samples_per_frame
        if self.hift.config.source == "sample":
            # Later pieces start at the kept frames, with the phase the harmonics had there.
            done = self.hift.f0_predictor(mel)[:, : mel.shape[-1] - kept]
            state.phase = self.hift.m_source.end_phase(done, state.phase)
        state.mel = mel[:, :, mel.shape[-1] - kept :]
        state.source = source[:, :, cut:]
        state.speech = speech[:, cut:]
        return speech[:, :cut]

    def finish(self, state: HiftState) -> Tensor:
        """Return what was held back, [1, samples], and leave the state empty."""
        held = state.speech
        state.mel, state.source, state.speech = state.mel[:, :, :0], state.source[:, :, :0], held[:, :0]
        return held

    def _source(self, state: HiftState, mel: Tensor) -> Tensor:
        samples = mel.shape[-1] * self.hift.config.samples_per_frame
        shape = (1, self.hift.config.harmonics + 1, samples)
        noise = torch.zeros(shape) if self.silent else torch.randn(shape, generator=state.generator)
        return self.hift.excite(mel, phase=state.phase, noise=noise)
