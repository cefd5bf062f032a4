"""Linguistic stream: 1024 k-means codes of a streaming Paraformer encoder, 16.67 Hz (Step-Audio's "vq02")."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stepaudio.features.fbank import PARAFORMER_FBANK, FbankConfig, frame_count, kaldi_fbank
from stepaudio.tokenizer.cmvn import Cmvn
from stepaudio.tokenizer.sanm import SanmConfig, SanmEncoder, SanmState
from stepaudio.weights import below, check_shapes, load_strict, read_safetensors

SAMPLE_RATE = 16000
CHUNK = 3840
"""Samples that are taken in at once (240 ms, four codes)."""
STACKED, STEP = 7, 6
"""Frames joined to one row, and frames from one row to the next (low frame rate, 60 ms)."""
CENTROIDS = "centroids"
CMVN_SHIFT, CMVN_SCALE = "cmvn.shift", "cmvn.scale"
ENCODER = "encoder."


@dataclass
class FrontEndState:
    """Sound and frames that wait for what follows.

    Attributes:
        pending: samples of a chunk that is not complete.
        overlap: samples taken in before, from the start of the next frame on.
        frames: (n, bins) frames from the start of the next row on; ``None`` before the first frame.
        noise: source of dither; unused when the filter bank has none.
    """

    pending: Tensor
    overlap: Tensor
    frames: Tensor | None
    noise: torch.Generator


class FrontEnd:
    """Filter bank, stacking of frames and normalisation, chunk by chunk; equal to doing it at once."""

    def __init__(self, cmvn: Cmvn, fbank: FbankConfig = PARAFORMER_FBANK):
        self.cmvn = cmvn
        self.fbank = fbank

    def start(self, seed: int = 0) -> FrontEndState:
        """State of a new stream; ``seed`` only matters with dither."""
        empty = self.cmvn.shift.new_zeros(0)
        noise = torch.Generator(device=empty.device).manual_seed(seed)
        return FrontEndState(empty, empty, None, noise)

    def push(self, state: FrontEndState, samples: Tensor) -> Tensor:
        """Rows (4 for each chunk of 240 ms that became complete, bins * 7) of ``samples`` (n,), 16 kHz."""
        pending = torch.cat([state.pending, samples])
        whole = len(pending) // CHUNK * CHUNK
        state.pending = pending[whole:].clone()
        return self._rows(state, pending[:whole], last=False)

    def finish(self, state: FrontEndState) -> Tensor:
        """Rows of what was left, the last one filled up with its last frame.

        As in the official front end, a rest of fewer than seven frames (with the frames that wait)
        gives no row: at most 60 ms at the end of a clip have no code.
        """
        rest, state.pending = state.pending, state.pending[:0]
        return self._rows(state, rest, last=True)

    def _rows(self, state: FrontEndState, samples: Tensor, *, last: bool) -> Tensor:
        sound = torch.cat([state.overlap, samples])
        new = kaldi_fbank(sound, self.fbank, state.noise)
        state.overlap = sound[len(new) * self.fbank.frame_shift :].clone()
        frames = new if state.frames is None else torch.cat([state.frames, new])
        if state.frames is None and len(new):
            frames = torch.cat([new[:1].expand((STACKED - 1) // 2, -1), new])
        if len(frames) < STACKED:
            state.frames = frames if len(frames) else None
            return frames.new_zeros(0, STACKED * self.fbank.n_mels)
        count = (len(frames) - STACKED) // STEP + 1
        if last:
            count = -(-(len(frames) - (STACKED - 1) // 2) // STEP)
            missing = max(0, (count - 1) * STEP + STACKED - len(frames))
            frames = torch.cat([frames, frames[-1:].expand(missing, -1)])
        rows = frames.unfold(0, STACKED, STEP)[:count].transpose(1, 2).flatten(1)
        state.frames = frames[min(len(frames) - 1, count * STEP) :].clone()
        return self.cmvn(rows)


@dataclass
class LinguisticState:
    """State of one stream; its size does not grow with the audio."""

    front_end: FrontEndState
    encoder: SanmState


class LinguisticTokenizer:
    """Sound to linguistic codes, offline or as it comes; both give the same codes.

    Args:
        encoder: the network.
        cmvn: normalisation of its input rows.
        centroids: (codes, encoder size), float32.
        fbank: the filter bank; the default has no dither, so codes are reproducible.
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self, encoder: SanmEncoder, cmvn: Cmvn, centroids: Tensor, fbank: FbankConfig = PARAFORMER_FBANK
    ):
        self.encoder = encoder.eval()
        self.centroids = centroids
        self.front_end = FrontEnd(cmvn, fbank)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.centroids.device

    def to(self, device: torch.device | str) -> "LinguisticTokenizer":
        """Move the network; states made before are of no use afterwards."""
        cmvn, fbank = self.front_end.cmvn.to(device), self.front_end.fbank
        return LinguisticTokenizer(self.encoder.to(device), cmvn, self.centroids.to(device), fbank)

    def start(self, seed: int = 0) -> LinguisticState:
        """State of a new stream."""
        return LinguisticState(self.front_end.start(seed), self.encoder.start())

    def push(self, state: LinguisticState, samples: np.ndarray) -> list[int]:
        """Codes that became certain with ``samples`` (n,), float32 in -1..1, 16 kHz; four every 240 ms."""
        sound = torch.as_tensor(samples, dtype=torch.float32, device=self.device)
        return self._codes(state, self.front_end.push(state.front_end, sound))

    def finish(self, state: LinguisticState) -> list[int]:
        """Codes of the rest; the state is used up."""
        return self._codes(state, self.front_end.finish(state.front_end))

    def encode(self, samples: np.ndarray) -> list[int]:
        """Codes of a whole clip (n,), float32 in -1..1, 16 kHz."""
        state = self.start()
        return self.push(state, samples) + self.finish(state)

    @torch.inference_mode()
    def _codes(self, state: LinguisticState, rows: Tensor) -> list[int]:
        return self.nearest(self.encoder.push(state.encoder, rows)).tolist()

    def nearest(self, vectors: Tensor) -> Tensor:
        """Index (n,) of the centroid closest to each of ``vectors`` (n, size), by Euclidean distance."""
        # The exact mode: differences first, no rounding from a product of large norms.
        exact = "donot_use_mm_for_euclid_dist"
        return torch.cdist(vectors, self.centroids, compute_mode=exact).argmin(dim=-1)


def expected_shapes(config: SanmConfig, codes: int = 1024) -> dict[str, tuple[int, ...]]:
    """Names and shapes in ``linguistic.safetensors``: ``encoder.*``, ``cmvn.*`` and ``centroids``."""
    with torch.device("meta"):
        encoder = SanmEncoder(config)
    shapes = {ENCODER + name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    return shapes | {
        CMVN_SHIFT: (config.input_size,),
        CMVN_SCALE: (config.input_size,),
        CENTROIDS: (codes, config.size),
    }


def from_tensors(
    tensors: dict[str, Tensor], config: SanmConfig, *, where: str = "linguistic tokenizer"
) -> LinguisticTokenizer:
    """Build the tokenizer from tensors under the names of :func:`expected_shapes`.

    Raises:
        ModelError: if a tensor is missing, unknown or of another shape.
    """
    codes = tensors[CENTROIDS].shape[0] if CENTROIDS in tensors else 1024
    check_shapes(tensors, expected_shapes(config, codes), where=where)
    encoder = SanmEncoder(config)
    load_strict(encoder, below(tensors, ENCODER), where=where)
    cmvn = Cmvn(tensors[CMVN_SHIFT].float(), tensors[CMVN_SCALE].float())
    return LinguisticTokenizer(encoder.float(), cmvn, tensors[CENTROIDS].float())


def from_file(path: Path, config: SanmConfig | None = None) -> LinguisticTokenizer:
    """Read ``linguistic.safetensors`` (see :func:`official_tensors` for how it is made).

    Raises:
        ModelError: if the file is damaged or holds something else.
    """
    return from_tensors(read_safetensors(path), config or SanmConfig(), where=str(path))


def official_tensors(checkpoint: dict[str, Tensor], cmvn: Cmvn, centroids: np.ndarray) -> dict[str, Tensor]:
    """Pick and rename what the official folder holds: the conversion step's key mapping.

    Args:
        checkpoint: tensors of Paraformer's ``model.pt``; an outer ``module.`` prefix is accepted, and the
            decoder and predictor in it are left out.
        cmvn: of ``am.mvn``, see :func:`stepaudio.tokenizer.cmvn.read_cmvn`.
        centroids: of ``linguistic_tokenizer.npy``, (1024, 512), float32.

    Returns:
        Tensors under the names of :func:`expected_shapes`; check them against it before writing.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in checkpoint.items()}
    picked = {name: tensor for name, tensor in plain.items() if name.startswith(ENCODER)}
    return picked | {
        CMVN_SHIFT: cmvn.shift,
        CMVN_SCALE: cmvn.scale,
        CENTROIDS: torch.from_numpy(np.array(centroids, dtype=np.float32)),
    }


def code_count(samples: int, fbank: FbankConfig = PARAFORMER_FBANK) -> int:
    """Number of linguistic codes of a clip of ``samples`` samples at 16 kHz."""
    whole, rest = divmod(samples, CHUNK)
    done = frame_count(whole * CHUNK, fbank)
    left = frame_count(samples, fbank) - done
    waiting = 1 if whole else (STACKED - 1) // 2
    frames = waiting + left
    if not rest or not left or frames < STACKED:
        return 4 * whole
    return 4 * whole - (-(frames - (STACKED - 1) // 2) // STEP)
