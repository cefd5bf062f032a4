"""Runs of the speech language model: its corpus from a tokenizer's codes, training, and speaking with it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stepaudio.audio import Audio
from stepaudio.decoder.world import synthesise
from stepaudio.decoder.world_voice import WorldVoice
from stepaudio.errors import InputError, ModelError
from stepaudio.lm.speech import SpeechLM, SpeechLMConfig, lay_pointer
from stepaudio.training import speech
from stepaudio.training.align import FRAME_RATE, TICKS
from stepaudio.training.autoencoder_run import decode, load_run, tokenise
from stepaudio.training.clips import Clip, Scale, held_out
from stepaudio.training.loop import Plan, Progress, train
from stepaudio.training.prepare import Work, read_manifest
from stepaudio.training.speech import Utterance
from stepaudio.training.tokenizer import Autoencoder

BATCH = 16
ERRORS = 0.1
"""Share of wrong digits that training shows the next group."""
LEAD, TAIL = 2.0, 6.0
"""Ticks of silence before and after what is said; the corpus has its ends cut."""


def read_corpus(data: Path, work: Path, tokenizer_run: str) -> tuple[list[Utterance], list[Utterance]]:
    """Utterances to train on, and those held out, of the teacher's set in `data`."""
    place, name = Work(work), data.name
    model, scale = load_run(work, tokenizer_run)
    timing = json.loads(place.timing(name).read_text("utf-8"))
    rows = read_manifest(data)
    parts: tuple[list[Utterance], list[Utterance]] = ([], [])
    for clip in place.clips(name):
        stem = clip.name.split("/")[1]
        if stem in timing and clip.groups > 3:
            utterance = _utterance(model, scale, clip, timing[stem], float(rows[stem]["speed"]))
            parts[held_out(clip)].append(utterance)
    return parts


def _utterance(
    model: Autoencoder, scale: Scale, clip: Clip, timing: Mapping[str, list[int] | int], speed: float
) -> Utterance:
    streams = tokenise(model, scale, clip)
    durations = np.asarray(timing["durations"], np.float32)
    offset = float(np.asarray(timing["offset"])) * TICKS / FRAME_RATE
    return Utterance(
        np.asarray(timing["ids"]),
        durations,
        lay_pointer(torch.from_numpy(durations), clip.groups, offset).numpy(),
        streams.linguistic_codes[0].numpy(),
        streams.semantic_codes[0].numpy(),
        clip.speaker,
        speed,
    )


def train_run(data: Path, work: Path, run: str, tokenizer_run: str, plan: Plan) -> Progress:
    """Train on the teacher's set, or go on; the run's folder is ``runs/RUN`` of the work folder."""
    utterances, kept = read_corpus(data, work, tokenizer_run)
    torch.manual_seed(0)
    model = SpeechLM(SpeechLMConfig()).to(plan.device)
    test = speech.collate(kept, [True] * len(kept)).to(plan.device)

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        assert isinstance(candidate, SpeechLM)
        return {name: float(value) for name, value in speech.losses(candidate, test).items()}

    def loss(step: int) -> dict[str, torch.Tensor]:
        batch = speech.draw(utterances, BATCH, step).to(plan.device)
        return speech.losses(model, batch, errors=ERRORS, seed=step)

    return train(model, loss, evaluate, Work(work).folder / "runs" / run, plan)


@dataclass
class TrainedMouth:
    """Speech language model, decoder and vocoder of two runs, to be judged; not yet nano's mouth.

    Attributes:
        lm: the speech language model.
        model: tokenizer and decoder.
        scale: of the frames.
    """

    lm: SpeechLM
    model: Autoencoder
    scale: Scale

    @classmethod
    def load(cls, work: Path, run: str, tokenizer_run: str) -> "TrainedMouth":
        """Read the best models of two runs.

        Raises:
            ModelError: one of them is not there.
        """
        path = work / "runs" / run / "best.pt"
        if not path.is_file():
            raise ModelError(f"{path}: nothing has been trained there yet")
        lm = SpeechLM(SpeechLMConfig())
        lm.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return cls(lm.eval(), *load_run(work, tokenizer_run))

    @torch.inference_mode()
    def speak(
        self,
        phonemes: Sequence[int],
        voice: WorldVoice,
        speaker: np.ndarray,
        *,
        speed: float = 1.0,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Audio:
        """Say the teacher's phoneme ids in a voice; the same seed gives the same sound.

        Raises:
            InputError: there are no phonemes.
        """
        if not phonemes:
            raise InputError("there are no phonemes to say")
        text = self.lm.encode(torch.tensor([[0, *phonemes, 0]]))
        told = torch.from_numpy((speaker * 16).astype(np.float32))[None]
        durations = self.lm.log_durations(text, told, torch.tensor([float(np.log(speed))])).exp()[0]
        durations[0], durations[-1] = LEAD, TAIL
        conditions = self.lm.conditions(text, lay_pointer(durations)[None], told)
        state = self.lm.start(temperature, seed)
        groups = [self.lm.step(state, conditions[:, at]) for at in range(conditions.shape[1])]
        linguistic, semantic = self.lm.codes(torch.stack(groups, 1))
        return synthesise(decode(self.model, self.scale, linguistic[0], semantic[0], voice, speaker))


def measure_run(
    data: Path, work: Path, run: str, tokenizer_run: str, texts: Sequence[str], temperature: float
) -> Iterator[str]:
    """Judge the teacher and the trained mouth on the same sentences, in voices of held-out clips."""
    import time

    from stepaudio import hub
    from stepaudio.decoder.kokoro_graph import Kokoro
    from stepaudio.speech.g2p import phonemize
    from stepaudio.speech.normalise import normalise
    from stepaudio.training.autoencoder_run import default_judge
    from stepaudio.training.judge import Take
    from stepaudio.voices import find_voice

    teacher = Kokoro(hub.folder("kokoro-82m"), 1)
    mouth = TrainedMouth.load(work, run, tokenizer_run)
    clips = [clip for clip in Work(work).clips(data.name) if held_out(clip)]
    rows = read_manifest(data)
    table = find_voice("ada").tensors["style"].astype(np.float32)
    kinds: dict[str, list[Take]] = {"teacher": [], "nano": []}
    spent = sounded = 0.0
    for index, text in enumerate(texts):
        phonemes = phonemize(normalise(text), "en-us")
        clip = clips[index % len(clips)]
        recording = Audio.read(data / rows[clip.name.split("/")[1]]["audio"])
        began = time.perf_counter()
        ids = teacher.encode(phonemes)
        made = mouth.speak(ids, WorldVoice.of(clip.world), clip.speaker, temperature=temperature)
        spent, sounded = spent + time.perf_counter() - began, sounded + made.seconds
        kinds["nano"].append(Take(made, text, recording))
        pieces = list(teacher.synthesize(phonemes, table))
        kinds["teacher"].append(Take(Audio(np.concatenate(pieces), 24_000), text))
    judge = default_judge()
    for kind, takes in kinds.items():
        yield f"{kind:8} {judge(takes)}"
    yield f"nano, RTF on one thread: {spent / sounded:.3f}"
