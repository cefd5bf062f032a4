"""Step-Audio's mouth: TTS-3B writes codes for a sentence, the flow and HiFT decoders turn them into sound."""

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from stepaudio.audio import Audio
from stepaudio.codes import STEP_AUDIO, Codes
from stepaudio.decoder.config import StreamOptions
from stepaudio.decoder.files import MUSIC_FOLDER, SPEAKER, SPEECH_FOLDER
from stepaudio.decoder.speaker import SpeakerEncoder
from stepaudio.decoder.token2wav import Token2Wav
from stepaudio.errors import InputError
from stepaudio.families.base import SpeechCodes
from stepaudio.families.clip_voice import (
    CLONED,
    NAMED,
    Speakers,
    clip_mel,
    make_voice,
    voice_prompt,
)
from stepaudio.families.sound import stream_sound
from stepaudio.families.step1 import Step1
from stepaudio.features.mel import PROMPT_22050
from stepaudio.lm.prompts.tts import HUMMING_TAG, RAP_TAG, Decoder, decoder_for, leading_tag, speech_prompt
from stepaudio.speech.tempo import change_pace
from stepaudio.styles import Style, find_tag, parse_style
from stepaudio.voices import SUFFIX, Voice, find_voice, list_voices

if TYPE_CHECKING:
    from stepaudio.tokenizer.pair import DualTokenizer

FAMILY = "step-audio"
# The tags of the prompt that the model was trained with, by our names.
OFFICIAL = {
    "rap": RAP_TAG,
    "humming": HUMMING_TAG,
    "happy": "高兴1",
    "very happy": "高兴2",
    "angry": "生气1",
    "very angry": "生气2",
    "sad": "悲伤1",
    "coquettish": "撒娇1",
    "chinese": "中文",
    "english": "英文",
    "korean": "韩语",
    "japanese": "日语",
    "sichuanese": "四川话",
    "cantonese": "粤语",
    "guangdong": "广东话",
    "slow": "慢速1",
    "very slow": "慢速2",
    "fast": "快速1",
    "very fast": "快速2",
}
_OURS = {tag: name for name, tag in OFFICIAL.items()}
_TAG = re.compile(r"\s*[（(]([^()（）]*)[)）]")
# Chunks of 1.2 s, the first of 0.6 s, both whole groups of five codes.
STREAM = StreamOptions(chunk_codes=50, first_chunk_codes=25)
CODE_RATE = 125 / 3
# A sentence longer than this is a loop: seconds at most for any text, and for each of its letters.
_MOST_S, _MOST_S_A_LETTER = 4.0, 0.5


@dataclass(frozen=True)
class _Decoders:
    speech: Token2Wav
    music: Token2Wav | None


class StepAudioMouth:
    """Speaks one sentence at a time at 22.05 kHz; weights are read at first use.

    Args:
        folder: a converted Step-Audio-TTS-3B.
        tokenizer: gives the dual tokenizer, which only new clips need.
        speakers: named voices.
        device: where it runs.
    """

    sample_rate = PROMPT_22050.sample_rate
    languages: tuple[str, ...] = ("zh", "en", "ja", "ko", "yue")
    tags = frozenset(OFFICIAL)

    def __init__(
        self,
        folder: Path,
        tokenizer: Callable[[], "DualTokenizer"],
        speakers: Speakers,
        *,
        device: str = "cpu",
    ):
        self.folder = folder
        self.lm = Step1(folder, device=device)
        self.speakers = speakers
        self.device = device
        self._tokenizer = tokenizer
        self._voices: dict[str, Voice] = {}

    @property
    def default_voice(self) -> str:
        """The first named voice, or else the first voice of this family in the user's folder."""
        named = self.speakers.names() or [info.name for info in list_voices(FAMILY)]
        if not named:
            raise InputError(
                f"{self.folder}: no voices: put clips and speakers_info.json into "
                f"{self.speakers.folder.name}/, or give a voice made with `stepaudio clone`"
            )
        return named[0]

    def load(self) -> "StepAudioMouth":
        """Read all weights, which otherwise happens at first use."""
        _ = (self.lm.tokenizer, self.lm.lm, self._decoders)
        return self

    @cached_property
    def _decoders(self) -> _Decoders:
        music = self.folder / MUSIC_FOLDER
        return _Decoders(
            Token2Wav.from_folder(self.folder / SPEECH_FOLDER, device=self.device, options=STREAM),
            Token2Wav.from_folder(music, device=self.device, options=STREAM) if music.is_dir() else None,
        )

    @cached_property
    def _speaker_encoder(self) -> SpeakerEncoder:
        return SpeakerEncoder(self.folder / SPEECH_FOLDER / SPEAKER)

    def voice(self, name: str) -> Voice:
        """Return a named voice of the folder, one of the user's, or a voice file.

        Raises:
            InputError: there is no such voice, or it is for another family.
        """
        if name in self.speakers.names():
            return self._named(name)
        if name.endswith(SUFFIX) or any(info.name == name for info in list_voices(FAMILY)):
            return find_voice(name, FAMILY)
        known = [*self.speakers.names(), *(info.name for info in list_voices(FAMILY))]
        raise InputError(
            f"unknown voice {name!r}; there are: {', '.join(known) or 'none'} (or a {SUFFIX} file)"
        )

    def _named(self, name: str) -> Voice:
        if name not in self._voices:
            transcript = self.speakers.transcripts().get(name, "")
            if not transcript:
                raise InputError(f"voice {name}: speakers_info.json has no transcript of its clip")
            clip = self.speakers.clip(name)
            self._voices[name] = self.voice_of(clip, name=name, transcript=transcript, kind=NAMED)
        return self._voices[name]

    def voice_of(
        self, clip: Audio, *, name: str, transcript: str, kind: str = CLONED, consent: str = ""
    ) -> Voice:
        """Return the voice of a clip: codes (trimmed, normalised), mel and embedding (as recorded).

        Raises:
            AudioError: too short, too long, or without sound.
        """
        mel = clip_mel(clip, PROMPT_22050)
        # The checkpoints never saw a short group, so the tail is dropped as in the reference.
        codes = self._tokenizer().encode(clip, trim=True).interleaved(tail="drop")
        return make_voice(
            FAMILY,
            name,
            codes=codes,
            mel=mel,
            speaker=self._speaker_encoder.embed(clip),
            kind=kind,
            transcript=transcript,
            consent=consent,
        )

    def read_tags(self, text: str, style: Style) -> tuple[str, Style]:
        """Take the leading tags that have a name in `styles` off `text`; others stay words for the model.

        Raises:
            InputError: a tag contradicts the style or another tag.
        """
        names = []
        while (found := _TAG.match(text)) and found[1].strip() in _OURS:
            names.append(_OURS[found[1].strip()])
            text = text[found.end() :]
        return text, parse_style(", ".join([str(style), *names])) if names else style

    def speak(self, text: str, *, voice: Voice, style: Style, seed: int | None = None) -> Iterator[Audio]:
        """Yield the speech of one sentence in chunks of about a second.

        A leading RAP or humming tag takes the music decoder, and for a named voice its own clip of that kind
        where there is one.

        Raises:
            InputError: the voice is for another family, or the text too long.
        """
        seed = secrets.randbits(31) if seed is None else seed
        pace = 1.0
        for name in style.tags:
            pace *= find_tag(name).speed
        tagged = "".join(f"({OFFICIAL[name]})" for name in style.tags) + text
        voice = self._singing(voice, leading_tag(tagged))
        prompt = voice_prompt(voice, FAMILY)
        asked = speech_prompt(
            self.lm.tokenizer.encode,
            tagged,
            clip_text=voice.info.transcript,
            clip_ids=STEP_AUDIO.to_ids(prompt.codes[0].tolist()),
            speaker=voice.name if voice.info.kind == NAMED else "",
        )
        indices = self.lm.codes(asked, most=_most_codes(text, pace), seed=seed)
        sound = stream_sound(self._decoder(asked.decoder), prompt, indices, seed=seed)
        yield from change_pace(sound, style.speed / pace)

    def _singing(self, voice: Voice, tag: str) -> Voice:
        name = f"{voice.name}{tag}"
        sings = voice.info.kind == NAMED and decoder_for(f"({tag})") == "music"
        return self._named(name) if sings and name in self.speakers.names() else voice

    def _decoder(self, which: Decoder) -> Token2Wav:
        if which == "speech":
            return self._decoders.speech
        if self._decoders.music is None:
            raise InputError(f"{self.folder}: has no decoder for RAP and humming ({MUSIC_FOLDER})")
        return self._decoders.music

    def encode(self, audio: Audio) -> Codes:
        """Return both code streams of a clip, its tail kept."""
        return self._tokenizer().encode(audio)

    def decode(self, codes: SpeechCodes, *, voice: Voice, seed: int | None = None) -> Audio:
        """Return the sound of codes in `voice`, decoded at once.

        Raises:
            InputError: codes of another family, or none.
        """
        if not isinstance(codes, Codes):
            raise InputError("Step-Audio decodes linguistic and semantic codes, not those of another family")
        prompt = voice_prompt(voice, FAMILY)
        indices = torch.tensor([codes.interleaved()], dtype=torch.long)
        sound = self._decoders.speech.decode(indices, prompt, seed=seed or 0)
        return Audio(sound, self.sample_rate)

    def read(self, data: object) -> Codes:
        """Read codes from JSON; raises `InputError`."""
        return Codes.from_json(data)


def _most_codes(text: str, pace: float) -> int:
    return int((_MOST_S + _MOST_S_A_LETTER * len(text)) / pace * CODE_RATE)
