"""nano's own speech models as they lie in a folder: tokenizer, speech language model, decoder."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from stepaudio.codes import GROUP
from stepaudio.decoder.envelope import frame_level
from stepaudio.decoder.voice_match import MATCH_SHAPE, VoiceMatch
from stepaudio.decoder.world import SPECTRAL
from stepaudio.decoder.world_flow import WorldFlow, WorldFlowConfig, WorldPrompt
from stepaudio.decoder.world_voice import Scale, WorldVoice
from stepaudio.errors import ModelError
from stepaudio.lm.speech import TICK, SpeechLM, SpeechLMConfig
from stepaudio.tokenizer.nano import NanoTokenizer, NanoTokenizerConfig
from stepaudio.voices import Voice, check_tensor
from stepaudio.weights import below, load_strict, read_safetensors

FAMILY = "nano"
KIND = "world-voice"
CONFIG, WEIGHTS = "speech.json", "speech.safetensors"
ABOVE_MEAN_DB = 3.0
"""How far the mean power of voiced frames lies above that of the mean frame, which is one of logarithms."""
PROMPT_GROUPS = 25
"""Groups (120 ms) of a voice's prompt, at most."""


class NanoSpeechConfig(BaseModel):
    """Content of ``speech.json``.

    Attributes:
        tokenizer: sizes of the tokenizer.
        decoder: sizes of the decoder.
        language_model: sizes of the speech language model.
        phonemes: id of each phoneme.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokenizer: NanoTokenizerConfig = NanoTokenizerConfig()
    decoder: WorldFlowConfig = WorldFlowConfig()
    language_model: SpeechLMConfig = SpeechLMConfig()
    phonemes: dict[str, int]


@dataclass(frozen=True, eq=False)
class NanoVoice:
    """A voice in the terms of the models.

    Attributes:
        world: where its frames lie.
        speaker: (1, 256) its GE2E embedding, of unit variance.
        condition: (1, 85 + 256) what the decoder is told.
        level: of its voiced frames, in dB of full scale.
        prompt: a stretch of it, if there is one.
        match: what decoding loses of it, if that was measured.
    """

    world: WorldVoice
    speaker: Tensor
    condition: Tensor
    level: float
    prompt: WorldPrompt | None
    match: VoiceMatch | None

    @property
    def centre_log_f0(self) -> float:
        """Median log-F0."""
        return float(self.world.centre[0])


@dataclass(frozen=True, eq=False)
class NanoSpeech:
    """The models, ready to use.

    Attributes:
        config: their sizes, and the phonemes.
        tokenizer: sound to codes.
        lm: phonemes to codes.
        decoder: codes to WORLD frames.
        scale: of the frames.
        tick: seconds that the language model counts durations in.
    """

    config: NanoSpeechConfig
    tokenizer: NanoTokenizer
    lm: SpeechLM
    decoder: WorldFlow
    scale: Scale
    tick: float = TICK

    @classmethod
    def load(cls, folder: Path) -> "NanoSpeech":
        """Read the models.

        Raises:
            ModelError: a file is missing, damaged, or does not fit the configuration.
        """
        path = folder / CONFIG
        try:
            config = NanoSpeechConfig.model_validate(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, ValidationError) as error:
            raise ModelError(f"{path}: not a usable configuration ({str(error).splitlines()[0]})") from None
        tensors = {name: value.float() for name, value in read_safetensors(folder / WEIGHTS).items()}
        models = (
            NanoTokenizer(config.tokenizer),
            SpeechLM(config.language_model),
            WorldFlow(config.decoder),
        )
        for model, prefix in zip(models, ("tokenizer.", "lm.", "decoder."), strict=True):
            load_strict(model, below(tensors, prefix), where=f"{folder / WEIGHTS}: {prefix[:-1]}")
            model.eval().requires_grad_(False)
        parts = below(tensors, "scale.")
        if parts.keys() != {"frames", "voice_mean", "voice_deviation"}:
            raise ModelError(f"{folder / WEIGHTS}: the scale of the frames is missing")
        scale = Scale(**{name: value.numpy() for name, value in parts.items()})
        return cls(config, *models, scale)

    def save(self, folder: Path) -> None:
        """Write the models, weights as bfloat16."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(self.config.model_dump_json(indent=1) + "\n", "utf-8")
        tensors: dict[str, Tensor] = {}
        for prefix, model in (("tokenizer.", self.tokenizer), ("lm.", self.lm), ("decoder.", self.decoder)):
            for name, value in model.state_dict().items():
                # Matrices hardly notice; vectors are small and stay exact.
                small = value.to(torch.bfloat16) if value.dim() > 1 else value
                tensors[prefix + name] = small.contiguous()
        for name in ("frames", "voice_mean", "voice_deviation"):
            tensors[f"scale.{name}"] = torch.from_numpy(getattr(self.scale, name))
        save_file(tensors, folder / WEIGHTS)

    def values(self, linguistic: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (batch, 2 G) and (batch, 3 G) to what the decoder takes."""
        return (
            self.tokenizer.linguistic_codebook.values(linguistic),
            self.tokenizer.semantic_codebook.values(semantic),
        )

    def voice(self, voice: Voice) -> NanoVoice:
        """Read a voice file's tensors.

        Raises:
            ModelError: a tensor is missing or has another shape.
        """
        centre, spread = check_tensor(voice, "centre", (45,)), check_tensor(voice, "spread", (41,))
        speaker = check_tensor(voice, "speaker", (256,))
        speaker = speaker / max(float(np.linalg.norm(speaker)), 1e-6)  # a mix is shorter
        world = WorldVoice(centre, spread)
        condition = torch.from_numpy(self.scale.voice(world, speaker))[None]
        return NanoVoice(
            world,
            torch.from_numpy(speaker * len(speaker) ** 0.5)[None],
            condition,
            frame_level(centre[SPECTRAL].astype(float)) + ABOVE_MEAN_DB,
            self._prompt(voice),
            VoiceMatch.from_array(check_tensor(voice, "match", MATCH_SHAPE))
            if "match" in voice.tensors
            else None,
        )

    def _prompt(self, voice: Voice) -> WorldPrompt | None:
        if "prompt_linguistic" not in voice.tensors:
            return None
        groups = len(voice.tensors["prompt_linguistic"]) // GROUP[0]
        codes = [
            torch.from_numpy(check_tensor(voice, f"prompt_{name}", (groups * each,))).long()[None]
            for name, each in zip(("linguistic", "semantic"), GROUP, strict=True)
        ]
        frames = check_tensor(voice, "prompt_frames", (12 * groups, 45))
        return WorldPrompt(*self.values(*codes), torch.from_numpy(frames)[None])

    def absolute(self, frames: Tensor, voice: NanoVoice) -> np.ndarray:
        """The decoder's frames (1, T, 45) as WORLD frames (T, 45) of a voice."""
        made = frames[0].numpy()
        return self.scale.absolute(made if voice.match is None else voice.match.apply(made), voice.world)

    def match(self, voice: Voice, linguistic: Tensor, semantic: Tensor, wanted: np.ndarray) -> Voice:
        """Return a voice that knows what decoding loses of it.

        Args:
            voice: without that.
            linguistic: codes (2 G,) of speech in the voice.
            semantic: codes (3 G,).
            wanted: (12 G, 45) the recorded frames, as networks see them.
        """
        told = self.voice(voice)
        with torch.inference_mode():
            made = self.decoder(*self.values(linguistic[None], semantic[None]), told.condition, told.prompt)
        found = VoiceMatch.of(made[0].numpy(), wanted)
        return voice if found is None else Voice(voice.info, {**voice.tensors, "match": found.to_array()})
