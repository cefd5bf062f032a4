"""nano's codec and cloner: sound to dual codes and back, and a few seconds of anybody to a voice."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.audio import Audio
from stepaudio.codes import GROUP, GROUP_S, Codes
from stepaudio.errors import AudioError, InputError
from stepaudio.families.base import SpeechCodes
from stepaudio.families.nano_mouth import SAMPLE_RATE, NanoMouth
from stepaudio.voices import Voice, VoiceInfo

if TYPE_CHECKING:
    from stepaudio.decoder.world import WorldFrames
    from stepaudio.decoder.world_voice import WorldVoice
    from stepaudio.features.whisper import WhisperFeatures
    from stepaudio.tokenizer.nano_stream import TokenizerStream

WINDOW_S = 28.0
"""Longest stretch that is tokenised at once: the Whisper encoder's window, less a margin."""


class NanoCodec:
    """Both code streams of a clip, and their sound in any of nano's voices.

    Args:
        mouth: whose models are used.
        whisper: folder of the card ``whisper-tiny.en``.
        speakers: folder of the card ``speaker-ge2e``.
    """

    def __init__(self, mouth: NanoMouth, whisper: Path, speakers: Path):
        self._mouth, self._whisper, self._speakers = mouth, whisper, speakers

    @cached_property
    def _encoder(self) -> "WhisperFeatures":
        from stepaudio.features.whisper import WhisperFeatures

        return WhisperFeatures(self._whisper)

    def encode(self, audio: Audio) -> Codes:
        """Return the codes of a clip of any length and rate.

        Raises:
            AudioError: the clip is shorter than 120 ms.
        """
        from stepaudio.decoder.world_voice import WorldVoice
        from stepaudio.tokenizer.nano_stream import EDGE_S

        if audio.seconds < GROUP_S:
            raise AudioError(f"{audio.seconds * 1000:.0f} ms is too short to tokenise; 120 ms is the least")
        # Silence fills the last group, so that nothing of the clip is lost.
        rest = -audio.seconds % GROUP_S + EDGE_S
        padded = np.pad(audio.samples, (0, round(rest * audio.sample_rate)))
        sound = Audio(padded, audio.sample_rate)
        world = _frames(sound).to_array()
        linguistic, semantic = self._tokenise(sound, world, WorldVoice.of(world))
        return Codes(tuple(linguistic.tolist()), tuple(semantic.tolist()), audio.seconds)

    def encode_stream(self, chunks: Iterable[Audio], voice: Voice | None = None) -> Iterator[Codes]:
        """Yield codes of sound as it comes in.

        Raises:
            AudioError: the chunks have several rates, or less than 120 ms in all.
        """
        return self.stream(voice).run(chunks)

    def stream(self, voice: Voice | None = None) -> "TokenizerStream":
        """Return the tokenizer of sound as it comes in, from a speaker whose voice may be known."""
        from stepaudio.features.whisper import RATE
        from stepaudio.tokenizer.nano_stream import TokenizerStream

        encoder, models = self._encoder, self._mouth.models

        def encode(sound: Audio) -> np.ndarray:
            return encoder.clip(sound.resample(RATE).samples)

        known = None if voice is None else models.voice(voice).world
        return TokenizerStream(models.tokenizer, models.scale, encode, _frames, known)

    def decode(self, codes: SpeechCodes, *, voice: Voice, seed: int | None = None) -> Audio:
        """Return the sound of `codes` in `voice`.

        A cloned voice's mending (`decoder.voice_match`) is left out: it brings a copy nearer to the speaker
        and costs words, which are what codes are for.

        Raises:
            InputError: codes of another family, or none.
        """
        from dataclasses import replace

        import torch

        from stepaudio.decoder.world import WorldFrames, synthesise

        if not isinstance(codes, Codes):
            raise InputError("these codes are not nano's: linguistic and semantic streams are needed")
        if not codes.linguistic or not codes.semantic:
            raise InputError("there are no codes to decode")
        models = self._mouth.models
        groups = max(-(-len(codes.linguistic) // GROUP[0]), -(-len(codes.semantic) // GROUP[1]))
        streams = [
            torch.tensor([[*stream, *[stream[-1]] * (groups * each - len(stream))]])
            for stream, each in zip((codes.linguistic, codes.semantic), GROUP, strict=True)
        ]
        told = replace(models.voice(voice), match=None)
        with torch.inference_mode():
            frames = models.decoder(*models.values(*streams), told.condition, told.prompt, seed=seed or 0)
        sound = synthesise(WorldFrames.from_array(models.absolute(frames, told)))
        return Audio(sound.samples[: round(codes.seconds * SAMPLE_RATE)], SAMPLE_RATE)

    def read(self, data: object) -> Codes:
        """Read what ``tokens encode`` wrote; raises `InputError` when it is something else."""
        return Codes.from_json(data)

    def clone(self, audio: Audio, *, name: str, transcript: str | None, consent: str) -> Voice:
        """Return the voice of a clip of 3 to 15 seconds; no transcript is needed.

        Raises:
            AudioError: there is too little voiced speech in it.
        """
        import torch

        from stepaudio.decoder.ge2e import SpeakerEncoder
        from stepaudio.decoder.world_voice import WorldVoice
        from stepaudio.families.nano_speech import FAMILY, KIND, PROMPT_GROUPS

        world = _frames(audio).to_array()
        if (world[:, 1] > 0.5).sum() < 50:
            raise AudioError("there is too little voiced speech in the clip to take a voice from")
        voice = WorldVoice.of(world)
        speaker = SpeakerEncoder.load(self._speakers).embed(audio)
        linguistic, semantic = self._tokenise(audio, world, voice)
        groups = min(PROMPT_GROUPS, len(linguistic) // GROUP[0])
        relative = self._mouth.models.scale.relative(world[: 12 * (len(linguistic) // GROUP[0])], voice)
        pitch = float(np.exp(voice.centre[0]))
        info = VoiceInfo(
            name=name,
            family=FAMILY,
            kind=KIND,
            language="en-us",
            gender="female" if pitch > 160 else "male",
            licence="the speaker's own",
            consent=consent,
            source="a clip",
            transcript=transcript or "",
        )
        tensors = {
            "centre": voice.centre,
            "spread": voice.spread,
            "speaker": speaker.astype(np.float32),
            "prompt_linguistic": linguistic[: GROUP[0] * groups].astype(np.float32),
            "prompt_semantic": semantic[: GROUP[1] * groups].astype(np.float32),
            "prompt_frames": relative[: 12 * groups].astype(np.float16),
        }
        plain = Voice(info, tensors)
        codes = torch.from_numpy(linguistic), torch.from_numpy(semantic)
        return self._mouth.models.match(plain, *codes, relative)

    def _tokenise(
        self, audio: Audio, world: np.ndarray, voice: "WorldVoice"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes (2 G,) and (3 G,) of the whole groups of a clip."""
        import torch

        from stepaudio.features.whisper import RATE
        from stepaudio.tokenizer.nano import WHISPER_PER_GROUP, WORLD_PER_GROUP, group_count

        models = self._mouth.models
        encoder = self._encoder
        samples = audio.resample(RATE).samples
        relative = models.scale.relative(world, voice)
        window = int(WINDOW_S / GROUP_S)
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        for first in range(0, len(world) // WORLD_PER_GROUP, window):
            begin = round(first * GROUP_S * RATE)
            part = samples[begin : begin + round(window * GROUP_S * RATE)]
            features = encoder.clip(part)
            frames = relative[first * WORLD_PER_GROUP : (first + window) * WORLD_PER_GROUP]
            groups = group_count(len(frames), len(features))
            if not groups:
                continue
            with torch.inference_mode():
                streams = models.tokenizer(
                    torch.from_numpy(features[: groups * WHISPER_PER_GROUP])[None],
                    torch.from_numpy(frames[: groups * WORLD_PER_GROUP])[None],
                )
            parts.append((streams.linguistic_codes[0].numpy(), streams.semantic_codes[0].numpy()))
        linguistic, semantic = zip(*parts, strict=True)
        return np.concatenate(linguistic), np.concatenate(semantic)


def _frames(audio: Audio) -> "WorldFrames":
    from stepaudio.decoder.world import analyse

    return analyse(audio, method="harvest")
