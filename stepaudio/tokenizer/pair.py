"""Both streams of Step-Audio's tokenizer at once: sound to :class:`~stepaudio.codes.Codes`."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from stepaudio.audio import Audio
from stepaudio.codes import LINGUISTIC_SIZE, SEMANTIC_SIZE, Codes, Interleaver, Tail
from stepaudio.errors import ModelError
from stepaudio.features.normalise import PEAK, QUIETEST_PEAK, peak_normalise, trim_silence
from stepaudio.features.resample import Resampler, ResampleState, practical, resample
from stepaudio.tokenizer import linguistic, semantic
from stepaudio.tokenizer.linguistic import LinguisticState, LinguisticTokenizer
from stepaudio.tokenizer.s3 import S3Config
from stepaudio.tokenizer.sanm import SanmConfig
from stepaudio.tokenizer.semantic import SemanticState, SemanticTokenizer, StreamWindow

SAMPLE_RATE = 16000
CONFIG = "tokenizer.json"
LINGUISTIC = "linguistic.safetensors"
SEMANTIC = ("semantic.safetensors", "speech_tokenizer_v1.onnx")


class DualConfig(BaseModel):
    """Content of ``tokenizer.json``; the defaults are the official sizes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    linguistic: SanmConfig = SanmConfig()
    semantic: S3Config = S3Config(version=1)


@dataclass
class DualState:
    """State of one stream of sound; bounded, whatever the length of the sound."""

    resampler: Resampler
    resampled: ResampleState
    gain: float
    linguistic: LinguisticState
    semantic: SemanticState
    interleaver: Interleaver = field(default_factory=Interleaver)


@dataclass(frozen=True)
class NewCodes:
    """What a chunk of sound added: codes of each stream, and joint indices of the groups that became whole.

    The semantic stream waits for its look-ahead, so joint indices come later than linguistic codes.
    """

    linguistic: tuple[int, ...]
    semantic: tuple[int, ...]
    interleaved: tuple[int, ...]


class DualTokenizer:
    """Sound to linguistic and semantic codes, offline or as it comes.

    Any sample rate is taken (the official one refuses those under 16 kHz); several channels were averaged
    when the clip was read.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, linguistic: LinguisticTokenizer, semantic: SemanticTokenizer):
        if len(linguistic.centroids) > LINGUISTIC_SIZE or semantic.codes > SEMANTIC_SIZE:
            raise ModelError(
                f"the pair has {LINGUISTIC_SIZE} linguistic and {SEMANTIC_SIZE} semantic codes at most, "
                f"not {len(linguistic.centroids)} and {semantic.codes}"
            )
        self.linguistic = linguistic
        self.semantic = semantic

    def prepare(self, audio: Audio, *, trim: bool = False, normalise: bool = True) -> np.ndarray:
        """The samples both networks see: 16 kHz, loudest sample at 0.999, silence trimmed if asked.

        Args:
            audio: a clip of any rate.
            trim: cut silence off both ends. Officially on for voice prompts, off for what a user says.
            normalise: scale to the same peak. Officially always on.

        Returns:
            (n,), float32.
        """
        if practical(audio.sample_rate, SAMPLE_RATE):
            wave = resample(torch.from_numpy(audio.samples), audio.sample_rate, SAMPLE_RATE).numpy()
        else:
            wave = audio.resample(SAMPLE_RATE).samples
        if normalise:
            wave = peak_normalise(wave)
        return trim_silence(wave) if trim else wave

    def encode(self, audio: Audio, *, trim: bool = False, normalise: bool = True) -> Codes:
        """Codes of a whole clip; see :meth:`prepare` for the options.

        ``seconds`` of the result is the length of what was encoded, after trimming.
        """
        wave = self.prepare(audio, trim=trim, normalise=normalise)
        return Codes(
            tuple(self.linguistic.encode(wave)),
            tuple(self.semantic.encode(wave)),
            len(wave) / SAMPLE_RATE,
        )

    def start(
        self,
        *,
        sample_rate: int = SAMPLE_RATE,
        peak: float | None = None,
        window: StreamWindow | None = None,
    ) -> DualState:
        """State of a new stream.

        Linguistic codes equal the offline ones whatever the chunks. Semantic codes equal them in
        30 s pieces (:data:`~stepaudio.tokenizer.semantic.PIECES`); a shorter window gives the same number
        of codes sooner, some of them different. Silence is never trimmed.

        Args:
            sample_rate: of the chunks, in Hz.
            peak: loudest sample (magnitude) the sound will have, to normalise as offline; the true one
                is not known before the end. ``None`` leaves the level alone.
            window: how the semantic stream cuts the sound.

        Raises:
            ValueError: if the rate or the window is not possible.
        """
        return DualState(
            resampler := Resampler(sample_rate, SAMPLE_RATE),
            resampler.start(),
            1.0 if peak is None else PEAK / max(peak, QUIETEST_PEAK),
            self.linguistic.start(),
            self.semantic.start(window),
        )

    def push(self, state: DualState, samples: np.ndarray) -> NewCodes:
        """Codes that became certain with ``samples`` (n,), float32 in -1..1, at the stream's rate."""
        sound = torch.as_tensor(samples, dtype=torch.float32)
        return self._push(state, state.resampler.push(state.resampled, sound))

    def finish(self, state: DualState, *, tail: Tail = "keep") -> NewCodes:
        """Codes of the rest; the state is used up. ``tail`` as in :func:`stepaudio.codes.interleave`."""
        new = self._push(state, state.resampler.finish(state.resampled))
        last = self.linguistic.finish(state.linguistic), self.semantic.finish(state.semantic)
        joint = [*new.interleaved, *state.interleaver.push(*last), *state.interleaver.finish(tail=tail)]
        return NewCodes((*new.linguistic, *last[0]), (*new.semantic, *last[1]), tuple(joint))

    def _push(self, state: DualState, sound: torch.Tensor) -> NewCodes:
        wave = (sound * state.gain).numpy()
        codes = self.linguistic.push(state.linguistic, wave), self.semantic.push(state.semantic, wave)
        return NewCodes(tuple(codes[0]), tuple(codes[1]), tuple(state.interleaver.push(*codes)))


def from_folder(path: Path | str, *, device: str = "cpu") -> DualTokenizer:
    """Read a converted folder.

    It holds ``linguistic.safetensors``; ``speech_tokenizer_v1.onnx`` as the official folder has it, or
    ``semantic.safetensors`` of our own; and ``tokenizer.json`` where the sizes are not the official ones.

    Raises:
        ModelError: if a file is missing, damaged, or not what it should be.
    """
    folder = Path(path)
    config = _read_config(folder / CONFIG)
    found = [folder / name for name in SEMANTIC if (folder / name).is_file()]
    if not found:
        raise ModelError(f"{folder}: neither {' nor '.join(SEMANTIC)} is there")
    words = linguistic.from_file(folder / LINGUISTIC, config.linguistic)
    sounds = semantic.from_file(found[0], config.semantic, device=device)
    return DualTokenizer(words.to(device), sounds)


def _read_config(path: Path) -> DualConfig:
    if not path.is_file():
        return DualConfig()
    try:
        return DualConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise ModelError(f"{path}: {where}: {first['msg']}") from None
