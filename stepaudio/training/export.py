"""From finished runs to the folder that nano reads, and the voices that go with it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from stepaudio.decoder.world_voice import WorldVoice
from stepaudio.families.nano_speech import FAMILY, KIND, PROMPT_GROUPS, NanoSpeech, NanoSpeechConfig
from stepaudio.training.autoencoder_run import build, load_run
from stepaudio.training.clips import Clip
from stepaudio.training.flow_run import load_flow_run
from stepaudio.training.speech_run import load_speech
from stepaudio.voices import Voice, VoiceInfo


def bundle(
    work: Path, tokenizer_run: str, flow_run: str, speech_run: str, vocab: Mapping[str, int]
) -> NanoSpeech:
    """The models of three runs as one; `vocab` is the phonemes' ids.

    Raises:
        ModelError: a run has no model yet.
    """
    trained, scale = load_run(work, tokenizer_run)
    flow = load_flow_run(work, flow_run, tokenizer_run)
    lm = load_speech(work, speech_run)
    config = NanoSpeechConfig(
        tokenizer=trained.tokenizer.config,
        decoder=flow.config,
        language_model=lm.config,
        phonemes=dict(vocab),
    )
    return NanoSpeech(config, trained.tokenizer, lm, flow, scale)


def unbundle(models: NanoSpeech, work: Path, run: str) -> None:
    """Write published models as runs to start from: ``RUN-codec``, ``RUN-flow`` and ``RUN-speech``.

    What only training needs is not published, and starts anew; the work folder takes the models' scale.
    """
    torch.manual_seed(0)
    work.mkdir(parents=True, exist_ok=True)
    scale = models.scale
    np.savez(
        work / "scale.npz",
        frames=scale.frames,
        voice_mean=scale.voice_mean,
        voice_deviation=scale.voice_deviation,
    )
    codec = build(scale)
    codec.tokenizer.load_state_dict(models.tokenizer.state_dict())
    codec.decoder.load_state_dict(models.decoder.regressor.state_dict())
    for part, model in (("codec", codec), ("flow", models.decoder), ("speech", models.lm)):
        folder = work / "runs" / f"{run}-{part}"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), folder / "best.pt")


def average_voice(models: NanoSpeech, clips: Sequence[Clip], info: VoiceInfo) -> Voice:
    """A voice from many clips of a speaker: mean statistics, and the most typical clip as the prompt."""
    voices = [WorldVoice.of(clip.world) for clip in clips]
    arrays = np.stack([voice.to_array() for voice in voices])
    middle = np.median(arrays, 0)
    typical = clips[int(np.argmin(np.abs((arrays - middle) / models.scale.voice_deviation).sum(1)))]
    centre = np.median(np.stack([voice.centre for voice in voices]), 0).astype(np.float32)
    spread = np.median(np.stack([voice.spread for voice in voices]), 0).astype(np.float32)
    speaker = np.mean([clip.speaker for clip in clips], 0)
    voice = WorldVoice(centre, spread)
    tensors = {
        "centre": centre,
        "spread": spread,
        "speaker": (speaker / np.linalg.norm(speaker)).astype(np.float32),
    }
    return Voice(info, tensors | prompt_of(models, typical, voice))


def codes_of(models: NanoSpeech, clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (2 G,) and (3 G,) of a clip."""
    own = models.scale.relative(clip.world, WorldVoice.of(clip.world))
    with torch.inference_mode():
        streams = models.tokenizer(
            torch.from_numpy(clip.whisper.astype(np.float32))[None], torch.from_numpy(own)[None]
        )
    return streams.linguistic_codes[0], streams.semantic_codes[0]


def prompt_of(models: NanoSpeech, clip: Clip, voice: WorldVoice) -> dict[str, np.ndarray]:
    """The tensors of a prompt: the first groups of a clip, relative to `voice`."""
    groups = min(PROMPT_GROUPS, clip.groups)
    linguistic, semantic = codes_of(models, clip)
    return {
        "prompt_linguistic": linguistic[: 2 * groups].numpy().astype(np.float32),
        "prompt_semantic": semantic[: 3 * groups].numpy().astype(np.float32),
        "prompt_frames": models.scale.relative(clip.world[: 12 * groups], voice).astype(np.float16),
    }


def shipped_voices(
    models: NanoSpeech, clips: Iterable[Clip], teachers: Iterable[VoiceInfo]
) -> Iterator[Voice]:
    """Voices of the teacher's voices `teachers`, from the clips that it spoke in them alone."""
    wanted = {json.dumps({teacher_name(info): 1.0}): info for info in teachers}
    by_speaker: dict[str, list[Clip]] = {who: [] for who in wanted}
    for clip in clips:
        if clip.who in by_speaker and clip.groups > PROMPT_GROUPS // 2:
            by_speaker[clip.who].append(clip)
    for who, found in by_speaker.items():
        if found:
            source = f"{len(found)} clips of {wanted[who].source}"
            info = replace(wanted[who], family=FAMILY, kind=KIND, source=source)
            yield average_voice(models, found, info)


def teacher_name(info: VoiceInfo) -> str:
    """The teacher's own name of a shipped voice, such as ``af_heart``."""
    return info.source.split()[2]
