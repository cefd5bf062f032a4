"""Voices that are a clip: its codes, mel frames and speaker embedding, as the flow decoders prompt."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.decoder.token2wav import VoicePrompt
from stepaudio.errors import AudioError, InputError, ModelError
from stepaudio.features.mel import MelConfig, prompt_mel
from stepaudio.features.resample import practical, resample
from stepaudio.voices import Voice, VoiceInfo

NAMED, CLONED = "named-clip", "cloned-clip"
# These models read every language that they know with every voice: no script is refused.
ANY_LANGUAGE = "mul"
SHORTEST_S, LONGEST_S = 0.5, 30.0
SPEAKERS, TRANSCRIPTS = "speakers", "speakers_info.json"


def at_rate(audio: Audio, rate: int) -> Tensor:
    """Return the samples (n,) at `rate`, through the filter of the reference where it has a sensible size."""
    if not practical(audio.sample_rate, rate):
        return torch.from_numpy(audio.resample(rate).samples)
    return resample(torch.from_numpy(np.ascontiguousarray(audio.samples)), audio.sample_rate, rate)


def clip_mel(audio: Audio, config: MelConfig) -> Tensor:
    """Return the prompt mel (80, frames) of a whole clip, as it was recorded: neither trimmed nor normalised.

    Raises:
        AudioError: the clip is too short to be the prompt of a voice, or too long.
    """
    if not SHORTEST_S <= audio.seconds <= LONGEST_S:
        raise AudioError(
            f"a voice needs a clip of {SHORTEST_S:g} to {LONGEST_S:g} s, not of {audio.seconds:.2f} s"
        )
    return prompt_mel(at_rate(audio, config.sample_rate), config)


def make_voice(
    family: str,
    name: str,
    *,
    codes: list[int],
    mel: Tensor,
    speaker: np.ndarray,
    kind: str = CLONED,
    transcript: str = "",
    consent: str = "",
) -> Voice:
    """Put a voice together; see `VoiceInfo` for the words.

    Raises:
        AudioError: the clip gave no codes.
    """
    if not codes:
        raise AudioError("the clip holds no sound that the tokenizer knows")
    info = VoiceInfo(
        name=name,
        family=family,
        kind=kind,
        language=ANY_LANGUAGE,
        gender="unknown",
        licence="the speaker's own",
        consent=consent or "not recorded",
        source="clip",
        transcript=transcript,
    )
    return Voice(info, {"codes": np.array(codes, np.float32), "mel": mel.numpy(), "speaker": speaker})


def voice_prompt(voice: Voice, family: str) -> VoicePrompt:
    """Return what the flow decoder of `family` is prompted with.

    Raises:
        InputError: the voice is for another family, or damaged.
    """
    if voice.info.family != family:
        raise InputError(f"voice {voice.name} is for {voice.info.family}, not for {family}")
    prompt = VoicePrompt.from_arrays(voice.tensors)
    if not prompt.codes.numel() or int(prompt.codes.min()) < 0:
        raise InputError(f"voice {voice.name}: its codes are not usable")
    return prompt


@dataclass(frozen=True)
class Speakers:
    """The named voices of a converted folder: clips in ``speakers/``, transcripts in ``speakers_info.json``.

    A clip is called ``NAME_prompt.wav`` as in the official repository, or ``NAME.wav``.

    Attributes:
        folder: where they lie; it need not exist.
    """

    folder: Path

    def transcripts(self) -> dict[str, str]:
        """Return the transcripts by name; none without the file.

        Raises:
            ModelError: the file is not a JSON object of texts.
        """
        path = self.folder / TRANSCRIPTS
        if not path.is_file():
            return {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path}: not JSON in UTF-8 ({error})") from None
        if not isinstance(data, dict) or not all(isinstance(text, str) for text in data.values()):
            raise ModelError(f"{path}: must map names to transcripts")
        return data

    def names(self) -> list[str]:
        """Return the names, those with a transcript first, in the order of the file."""
        clips = {path.stem.removesuffix("_prompt") for path in self.folder.glob("*.wav")}
        ordered = [name for name in self.transcripts() if name in clips]
        return [*ordered, *sorted(clips - set(ordered))]

    def clip(self, name: str) -> Audio:
        """Return the clip of `name`, which must be one of `names`."""
        path = self.folder / f"{name}_prompt.wav"
        return Audio.read(path if path.is_file() else self.folder / f"{name}.wav")
