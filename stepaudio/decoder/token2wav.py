"""Codes to sound: the flow decoder and the vocoder put together, offline and as codes come."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stepaudio.decoder.config import StreamOptions
from stepaudio.decoder.files import FLOW, HIFT, MUSIC_FOLDER, SPEECH_FOLDER, read_config
from stepaudio.decoder.flow import FlowDecoder, load_flow
from stepaudio.decoder.hift import Hift
from stepaudio.decoder.hift_stream import HiftState, HiftStream
from stepaudio.decoder.hift_weights import fold_weight_norm
from stepaudio.decoder.stream import StreamState
from stepaudio.errors import InputError, ModelError
from stepaudio.weights import load_strict, read_safetensors

PARTS = ("speaker", "codes", "mel")


@dataclass(frozen=True, eq=False)
class VoicePrompt:
    """What the decoder knows of a voice.

    Attributes:
        speaker: speaker embedding (1, 192), of any length.
        codes: codes of a clip (1, P), joint indices in Step-Audio, S3 codes in Step-Audio 2.
        mel: the clip's log-mel (1, 80, F).
    """

    speaker: Tensor
    codes: Tensor
    mel: Tensor

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "VoicePrompt":
        """Build from arrays named `speaker` (192,), `codes` (P,) and `mel` (80, F), as a voice file has them.

        Raises:
            InputError: one is missing or has another number of axes.
        """
        for name, axes in zip(PARTS, (1, 1, 2), strict=True):
            if name not in arrays or np.ndim(arrays[name]) != axes:
                raise InputError(f"the voice has no usable {name} for this model")
        speaker, codes, mel = (torch.as_tensor(np.asarray(arrays[name])) for name in PARTS)
        return cls(speaker[None].float(), codes[None].long(), mel[None].float())


@dataclass(eq=False)
class Token2WavState:
    """One stream of speech: where its flow and its vocoder are."""

    flow: StreamState
    hift: HiftState


class Token2Wav:
    """Turns codes into sound in the voice of a prompt.

    Args:
        flow: codes to mel frames.
        hift: mel frames to sound.
        options: how a stream cuts its chunks; the default is Step-Audio 2's second of 25 codes.

    Raises:
        ModelError: the two do not agree on the mel.
    """

    def __init__(self, flow: FlowDecoder, hift: Hift, options: StreamOptions | None = None) -> None:
        if flow.config.output_size != hift.config.mel_bins:
            raise ModelError(
                f"the flow makes {flow.config.output_size} mel bins, the vocoder reads {hift.config.mel_bins}"
            )
        self.flow, self.hift = flow, hift
        self.options = options or StreamOptions()
        self._stream = HiftStream(hift)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        flow_dtype: torch.dtype | None = None,
        options: StreamOptions | None = None,
    ) -> "Token2Wav":
        """Read a converted decoder folder.

        Args:
            folder: holds `decoder.json`, `flow.safetensors` and `hift.safetensors`.
            device: where to compute.
            flow_dtype: `torch.bfloat16` rounds the flow as Step-Audio's official runs do; the vocoder always
                computes in float32.
            options: how a stream cuts its chunks.

        Raises:
            ModelError: a file is missing, damaged, or does not fit `decoder.json`.
        """
        root = Path(folder)
        config = read_config(root)
        flow = load_flow(config.flow, read_safetensors(root / FLOW)).to(device=device, dtype=flow_dtype)
        hift = Hift(config.hift)
        load_strict(hift, fold_weight_norm(read_safetensors(root / HIFT)), where=str(root / HIFT))
        return cls(flow, hift.eval().requires_grad_(False).to(device), options)

    @property
    def sample_rate(self) -> int:
        """Hz of the sound."""
        return self.hift.sample_rate

    def decode(self, codes: Tensor, prompt: VoicePrompt, *, seed: int = 0) -> np.ndarray:
        """Decode all of (1, N) codes at once: float32 (samples,), in -1..1; the same seed, the same sound.

        Raises:
            InputError: there are no codes, or codes or prompt do not fit the model.
        """
        mel = self.flow.mel(codes, prompt.speaker, prompt.codes, prompt.mel, seed=seed)
        return _samples(self.hift.synthesise(mel.float(), seed=seed))

    def start(self, prompt: VoicePrompt, *, seed: int = 0) -> Token2WavState:
        """Begin a stream in a voice; the same seed and codes give the same sound, however they are pushed."""
        flow = self.flow.start(prompt.speaker, prompt.codes, prompt.mel, options=self.options, seed=seed)
        return Token2WavState(flow, self._stream.start(seed))

    def again(self, state: Token2WavState, *, seed: int = 0) -> Token2WavState:
        """A new stream in the voice of `state`, which has had no codes yet, without its work on the prompt.

        The flow's noise stays that of `state`; `seed` is the vocoder's.
        """
        return Token2WavState(state.flow.clone(), self._stream.start(seed))

    def push(self, state: Token2WavState, codes: Tensor) -> np.ndarray:
        """Take (1, any number of) codes; return the sound (samples,) that is ready, maybe none."""
        ready = []
        while codes.shape[1]:
            # Chunk by chunk, so that the vocoder's joins do not depend on how codes are pushed.
            wanted = state.flow.next_chunk + state.flow.lookahead - state.flow.pending.shape[1]
            mel = self.flow.push(state.flow, codes[:, :wanted])
            ready.append(_samples(self._stream.push(state.hift, mel.float())))
            codes = codes[:, wanted:]
        return np.concatenate(ready) if ready else np.zeros(0, np.float32)

    def finish(self, state: Token2WavState) -> np.ndarray:
        """Decode what is pending and return the rest of the sound (samples,)."""
        mel = self.flow.finish(state.flow)
        return _samples(self._stream.push(state.hift, mel.float(), last=True))


@dataclass(frozen=True, eq=False)
class DecoderPair:
    """Step-Audio's two decoders: one for speech, one for RAP and humming."""

    speech: Token2Wav
    music: Token2Wav

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, device: torch.device | str = "cpu", flow_dtype: torch.dtype | None = None
    ) -> "DecoderPair":
        """Read `decoder` and `decoder-music` of a converted Step-Audio-TTS-3B; raises like `Token2Wav`."""
        speech, music = (
            Token2Wav.from_folder(Path(folder) / name, device=device, flow_dtype=flow_dtype)
            for name in (SPEECH_FOLDER, MUSIC_FOLDER)
        )
        return cls(speech, music)

    def choose(self, which: Literal["speech", "music"]) -> Token2Wav:
        """The decoder that `stepaudio.lm.prompts.tts` names for a text: music for RAP and humming."""
        return self.music if which == "music" else self.speech


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Float samples in -1..1 as int16, truncated toward zero as the official driver does."""
    return (np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16)


def _samples(sound: Tensor) -> np.ndarray:
    return sound[0].float().cpu().numpy()
