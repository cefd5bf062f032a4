"""Semantic stream: codes of an S3 network at 25 Hz, from torch weights or from an official ONNX file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stepaudio.errors import ModelError
from stepaudio.features.mel import WHISPER_128, whisper_log_mel
from stepaudio.tokenizer import windows
from stepaudio.tokenizer.s3 import S3Config, S3Network, code_length
from stepaudio.weights import load_strict, read_safetensors

SAMPLE_RATE = 16000
RATE = 25
"""Codes a second."""
SAMPLES_PER_CODE = SAMPLE_RATE // RATE
PIECE = windows.WINDOW_S * SAMPLE_RATE
SHORTEST_PIECE = 480
"""Pieces under 30 ms have no code in the official version 1 tokenizer."""
SHORTEST_CLIP = WHISPER_128.n_fft // 2 + 1
"""The spectrogram's reflection at the edges needs this many samples."""

Encode = Callable[[Tensor], Tensor]
"""Log-mels (batch, 128, frames), none padded, to codes (batch, codes)."""


@dataclass(frozen=True)
class StreamWindow:
    """How streaming cuts the sound, in seconds; each a multiple of 40 ms.

    The networks look at whole windows, so codes made on the fly differ from offline ones where a window
    shows less. Codes come ``hop_s + right_s`` seconds behind the sound at most; a longer ``left_s`` and
    ``right_s`` bring them closer to offline codes and cost more work for each hop.

    Attributes:
        left_s: earlier sound shown again.
        hop_s: sound whose codes a window gives.
        right_s: later sound waited for (look-ahead).
    """

    left_s: float = 6.0
    hop_s: float = 1.0
    right_s: float = 0.4

    def samples(self) -> tuple[int, int, int]:
        """The three in samples at 16 kHz.

        Raises:
            ValueError: if one is negative, not a multiple of 40 ms, or the window passes 30 s.
        """
        counts = [round(seconds * RATE) for seconds in (self.left_s, self.hop_s, self.right_s)]
        wanted = [seconds * RATE for seconds in (self.left_s, self.hop_s, self.right_s)]
        if min(counts) < 0 or counts[1] == 0 or not np.allclose(counts, wanted):
            raise ValueError("stream windows must be multiples of 0.04 s, the hop above zero")
        if sum(counts) > windows.WINDOW_S * RATE:
            raise ValueError(f"a stream window must not be longer than {windows.WINDOW_S} s")
        left, hop, right = (count * SAMPLES_PER_CODE for count in counts)
        return left, hop, right


PIECES = StreamWindow(left_s=0, hop_s=windows.WINDOW_S, right_s=0)
"""Streaming in the 30 s pieces of version 1: equal to offline, but a code may come 30 s late."""


@dataclass
class SemanticState:
    """Sound that later windows need, at most one window of it.

    Attributes:
        window: left context, hop and look-ahead in samples.
        sound: (n,), float32, from the left context on.
        done: samples of ``sound`` whose codes are out.
    """

    window: tuple[int, int, int]
    sound: np.ndarray
    done: int = 0


class SemanticTokenizer:
    """Sound to semantic codes.

    Args:
        encode: the network.
        version: 1 cuts long sound into 30 s pieces with a spectrogram each (Step-Audio); 2 makes one
            spectrogram, cuts it into 30 s windows with 4 s overlap and joins the codes (Step-Audio 2).
        codes: number of different codes.
        device: where log-mels are made.
        compat: copy the loss of codes of the s3tokenizer package, see
            :func:`stepaudio.tokenizer.windows.overlapping`. Version 2 only.
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        encode: Encode,
        *,
        version: Literal[1, 2],
        codes: int,
        device: torch.device | str = "cpu",
        compat: bool = False,
    ):
        self._encode = encode
        self.version = version
        self.codes = codes
        self.device = torch.device(device)
        self.compat = compat

    @torch.inference_mode()
    def encode(self, samples: np.ndarray) -> list[int]:
        """Codes of a whole clip (n,), float32 in -1..1, 16 kHz; none for less than about 30 ms."""
        if self.version == 1:
            pieces = windows.consecutive(len(samples), PIECE, SHORTEST_PIECE)
            return [code for start, stop in pieces for code in self._codes(self._mel(samples[start:stop]))]
        if len(samples) < SHORTEST_CLIP:
            return []
        mel = self._mel(samples)
        cuts = windows.overlapping(mel.shape[-1], compat=self.compat)
        return windows.join([self._codes(mel[:, start:stop]) for start, stop in cuts])

    def start(self, window: StreamWindow | None = None) -> SemanticState:
        """State of a new stream.

        Raises:
            ValueError: if the window is not possible, see :meth:`StreamWindow.samples`.
        """
        return SemanticState((window or StreamWindow()).samples(), np.zeros(0, np.float32))

    @torch.inference_mode()
    def push(self, state: SemanticState, samples: np.ndarray) -> list[int]:
        """Codes that became due with ``samples`` (n,), float32 in -1..1, 16 kHz.

        How the sound is cut into calls has no influence on the codes.
        """
        left, hop, right = state.window
        state.sound = np.concatenate([state.sound, samples])
        codes: list[int] = []
        while len(state.sound) >= state.done + hop + right:
            end = state.done + hop
            # Even a window without look-ahead waits for the samples its last frame needs.
            made = self._codes(self._mel(state.sound[: end + right]))
            codes += made[state.done // SAMPLES_PER_CODE : end // SAMPLES_PER_CODE]
            start = max(0, end - left)
            state.sound, state.done = state.sound[start:].copy(), end - start
        return codes

    @torch.inference_mode()
    def finish(self, state: SemanticState) -> list[int]:
        """Codes of the rest; the state is used up."""
        rest = len(state.sound) - state.done
        shortest = SHORTEST_PIECE if self.version == 1 and not state.done else 1
        if rest < shortest or len(state.sound) < SHORTEST_CLIP:
            return []
        return self._codes(self._mel(state.sound))[state.done // SAMPLES_PER_CODE :]

    def _mel(self, samples: np.ndarray) -> Tensor:
        return whisper_log_mel(torch.as_tensor(samples, dtype=torch.float32, device=self.device))

    def _codes(self, mel: Tensor) -> list[int]:
        codes = [int(code) for code in self._encode(mel[None])[0]]
        if len(codes) != code_length(mel.shape[-1]):
            raise ModelError(
                f"the semantic tokenizer gave {len(codes)} codes for {mel.shape[-1]} frames, not one in four"
            )
        if codes and not 0 <= min(codes) <= max(codes) < self.codes:
            raise ModelError(f"the semantic tokenizer gave codes outside 0..{self.codes - 1}")
        return codes


def from_network(network: S3Network, *, compat: bool = False) -> SemanticTokenizer:
    """Tokenizer around our torch network, on the network's device.

    Raises:
        ModelError: if the network is the 50 Hz variant, which no family here uses.
    """
    if network.config.first_stride != 2:
        raise ModelError("the semantic stream needs the 25 Hz network (first_stride 2)")
    network.eval()
    device = next(network.parameters()).device

    def encode(mel: Tensor) -> Tensor:
        lengths = torch.full((len(mel),), mel.shape[-1], device=mel.device)
        return network(mel, lengths)[0]

    config = network.config
    return SemanticTokenizer(
        encode, version=config.version, codes=config.n_codes, device=device, compat=compat
    )


def from_onnx(
    path: Path, *, version: Literal[1, 2], device: str = "cpu", threads: int = 0, compat: bool = False
) -> SemanticTokenizer:
    """Tokenizer around an official ``speech_tokenizer_v1.onnx`` or ``speech_tokenizer_v2_25hz.onnx``.

    Their tensors' names do not say which layer they belong to, so the file itself is run.

    Raises:
        ModelError: if the file or the device is not usable.
    """
    from stepaudio.onnx_session import OnnxModel

    model = OnnxModel(path, device=device, threads=threads)

    def encode(mel: Tensor) -> Tensor:
        frames = np.array([mel.shape[-1]], dtype=np.int32)
        return torch.from_numpy(np.asarray(model(mel.cpu().numpy(), frames)[0]).reshape(1, -1))

    return SemanticTokenizer(encode, version=version, codes=S3Config(version=version).n_codes, compat=compat)


def from_file(
    path: Path, config: S3Config, *, device: str = "cpu", compat: bool = False
) -> SemanticTokenizer:
    """Tokenizer from an ``.onnx`` file or from our own ``.safetensors`` of an :class:`S3Network`.

    Raises:
        ModelError: if the file is damaged or holds something else.
    """
    if path.suffix == ".onnx":
        return from_onnx(path, version=config.version, device=device, compat=compat)
    network = S3Network(config)
    load_strict(network, read_safetensors(path), where=str(path))
    return from_network(network.to(device), compat=compat)
