"""Speaker embedding (x-vector) of a voice prompt: CAM++ (arXiv 2303.00332) as an ONNX file."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.errors import AudioError, ModelError
from stepaudio.features.fbank import SPEAKER_FBANK, kaldi_fbank
from stepaudio.features.resample import practical, resample

EMBEDDING_SIZE = 192


def speaker_features(waveform: Tensor) -> Tensor:
    """What CAM++ reads: Kaldi filter bank less its mean over the clip.

    Args:
        waveform: (samples,), float32 in -1..1, 16 kHz.

    Returns:
        (frames, 80), float32, a frame every 10 ms.
    """
    features = kaldi_fbank(waveform, SPEAKER_FBANK)
    return features - features.mean(dim=0, keepdim=True)


class SpeakerEncoder:
    """A voice as 192 numbers.

    Args:
        path: ``campplus.onnx``.
        device: ``cpu`` (as the reference) or ``cuda``.

    Raises:
        ModelError: if the file or the device is not usable.
    """

    sample_rate = SPEAKER_FBANK.sample_rate

    def __init__(self, path: Path | str, *, device: str = "cpu", threads: int = 1):
        from stepaudio.onnx_session import OnnxModel

        self._model = OnnxModel(path, device=device, threads=threads)

    def embed(self, audio: Audio) -> np.ndarray:
        """Embedding (192,), float32, not normalised, of a clip of any rate.

        Raises:
            AudioError: if the clip is shorter than one frame (25 ms).
            ModelError: if the model gives something other than 192 finite numbers.
        """
        if not practical(audio.sample_rate, self.sample_rate):
            audio = audio.resample(self.sample_rate)
        wave = resample(torch.from_numpy(audio.samples), audio.sample_rate, self.sample_rate)
        if len(wave) < SPEAKER_FBANK.frame_length:
            raise AudioError(f"{audio.seconds:.3f} s is too short for a speaker embedding")
        output = np.asarray(self._model(speaker_features(wave)[None].numpy())[0], dtype=np.float32)
        if output.size != EMBEDDING_SIZE or not np.isfinite(output).all():
            raise ModelError(
                f"{self._model.path}: gave {list(output.shape)}, not {EMBEDDING_SIZE} finite numbers"
            )
        return output.reshape(EMBEDDING_SIZE)
