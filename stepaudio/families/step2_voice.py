"""Step-Audio 2's speech codes: clips to codes and voices, codes to sound (token2wav)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from stepaudio.audio import Audio
from stepaudio.codes import SEMANTIC_RATE
from stepaudio.decoder.files import SPEAKER, SPEECH_FOLDER
from stepaudio.decoder.speaker import SpeakerEncoder
from stepaudio.decoder.token2wav import Token2Wav, Token2WavState
from stepaudio.errors import InputError
from stepaudio.families.base import SpeechCodes
from stepaudio.families.clip_voice import CLONED, NAMED, Speakers, at_rate, clip_mel, make_voice, voice_prompt
from stepaudio.families.options import onnx_device
from stepaudio.features.mel import PROMPT_24000, fit_frames
from stepaudio.lm.prompts.vocabulary import CODEBOOK_SIZE
from stepaudio.tokenizer.semantic import SemanticTokenizer, from_onnx
from stepaudio.voices import SUFFIX, Voice, find_voice, list_voices

FAMILY = "step-audio-2"
TOKENIZER = "speech_tokenizer_v2_25hz.onnx"
FRAMES_PER_CODE = 2


@dataclass(frozen=True)
class S3Codes:
    """Codes of one clip at 25 Hz.

    Attributes:
        semantic: codes 0..6560.
        seconds: length of the sound that they were made from.
    """

    semantic: tuple[int, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """What ``tokens encode`` writes; `from_json` reads it."""
        return {
            "semantic": list(self.semantic),
            "seconds": round(self.seconds, 6),
            "rates": [round(SEMANTIC_RATE)],
        }

    @classmethod
    def from_json(cls, data: object) -> "S3Codes":
        """Read codes.

        Raises:
            InputError: another form, codes of another family, or a code out of range.
        """
        if not isinstance(data, Mapping) or set(data) - {"semantic", "seconds", "rates"}:
            raise InputError("Step-Audio 2's codes are a JSON object with semantic, seconds and rates alone")
        codes = data.get("semantic")
        if not isinstance(codes, list) or any(type(code) is not int for code in codes):
            raise InputError("semantic must be a list of integers")
        bad = next((code for code in codes if not 0 <= code < CODEBOOK_SIZE), None)
        if bad is not None:
            raise InputError(f"semantic code {bad} is not in 0..{CODEBOOK_SIZE - 1}")
        seconds = data.get("seconds", len(codes) / SEMANTIC_RATE)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise InputError("seconds must be a number above zero")
        return cls(tuple(codes), float(seconds))


class Step2Voices:
    """Voices and codes of a converted folder; weights are read at first use.

    Args:
        folder: the converted model; the decoder lies in a folder of it.
        speakers: named voices.
        device: where it runs.
    """

    def __init__(self, folder: Path, speakers: Speakers, *, device: str = "cpu"):
        self.folder = folder / SPEECH_FOLDER
        self.speakers = speakers
        self.device = device
        self._voices: dict[str, Voice] = {}
        self._ready: dict[str, Token2WavState] = {}

    @cached_property
    def decoder(self) -> Token2Wav:
        """Flow and vocoder."""
        return Token2Wav.from_folder(self.folder, device=self.device)

    @cached_property
    def tokenizer(self) -> SemanticTokenizer:
        """The S3 tokenizer."""
        return from_onnx(self.folder / TOKENIZER, version=2, device=onnx_device(self.device))

    @cached_property
    def _speaker_encoder(self) -> SpeakerEncoder:
        return SpeakerEncoder(self.folder / SPEAKER)

    def names(self) -> list[str]:
        """Return the names of the voices: those of the folder, then the user's."""
        own = self.speakers.names()
        return [*own, *(info.name for info in list_voices(FAMILY) if info.name not in own)]

    def voice(self, name: str) -> Voice:
        """Return a voice by name or file.

        Raises:
            InputError: there is no such voice, or it is for another family.
        """
        if name in self.speakers.names():
            if name not in self._voices:
                self._voices[name] = self.voice_of(self.speakers.clip(name), name=name, kind=NAMED)
            return self._voices[name]
        if name.endswith(SUFFIX) or name in self.names():
            return find_voice(name, FAMILY)
        known = ", ".join(self.names()) or "none"
        raise InputError(f"unknown voice {name!r}; there are: {known} (or a {SUFFIX} file)")

    def voice_of(self, clip: Audio, *, name: str, kind: str = CLONED, consent: str = "") -> Voice:
        """Return the voice of a clip; no transcript is needed.

        Raises:
            AudioError: too short, too long, or without sound.
        """
        mel = clip_mel(clip, PROMPT_24000)
        codes = list(self.encode(clip).semantic)
        return make_voice(
            FAMILY,
            name,
            codes=codes,
            mel=fit_frames(mel, FRAMES_PER_CODE * len(codes)),
            speaker=self._speaker_encoder.embed(clip),
            kind=kind,
            consent=consent,
        )

    def clone(self, audio: Audio, *, name: str, transcript: str | None, consent: str) -> Voice:
        """Return the voice of `audio`; the transcript is not used."""
        return self.voice_of(audio, name=name, consent=consent)

    def start(self, voice: Voice, *, seed: int) -> Token2WavState:
        """Begin to speak in `voice`; the work on its clip is done once for a seed."""
        key = f"{id(voice.tensors)} {seed}"
        if key not in self._ready:
            self._ready.clear()  # one is enough: a conversation keeps its voice and seed
            self._ready[key] = self.decoder.start(voice_prompt(voice, FAMILY), seed=seed)
        return self.decoder.again(self._ready[key], seed=seed)

    def push(self, state: Token2WavState, codes: tuple[int, ...]) -> Iterator[Audio]:
        """Yield the sound that `codes` complete."""
        samples = self.decoder.push(state, torch.tensor([codes], dtype=torch.long))
        if samples.size:
            yield Audio(samples, self.decoder.sample_rate)

    def finish(self, state: Token2WavState) -> Iterator[Audio]:
        """Yield the rest."""
        samples = self.decoder.finish(state)
        if samples.size:
            yield Audio(samples, self.decoder.sample_rate)

    def encode(self, audio: Audio) -> S3Codes:
        """Return the codes of a clip of any length and rate."""
        codes = self.tokenizer.encode(at_rate(audio, self.tokenizer.sample_rate).numpy())
        return S3Codes(tuple(codes), audio.seconds)

    def decode(self, codes: SpeechCodes, *, voice: Voice, seed: int | None = None) -> Audio:
        """Return the sound of codes in `voice`, decoded at once.

        Raises:
            InputError: codes of another family, or none.
        """
        if not isinstance(codes, S3Codes):
            raise InputError("Step-Audio 2 decodes the codes of its own tokenizer only")
        tensor = torch.tensor([codes.semantic], dtype=torch.long)
        sound = self.decoder.decode(tensor, voice_prompt(voice, FAMILY), seed=seed or 0)
        return Audio(sound, self.decoder.sample_rate)

    def read(self, data: object) -> S3Codes:
        """Read codes from JSON; raises `InputError`."""
        return S3Codes.from_json(data)
