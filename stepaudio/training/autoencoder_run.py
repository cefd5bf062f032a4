"""Runs of the tokenizer with its decoder: training, loading, and judging what comes back from the codes."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stepaudio.audio import Audio
from stepaudio.codes import LINGUISTIC_SIZE, SEMANTIC_SIZE
from stepaudio.decoder.regressor import RegressorConfig
from stepaudio.decoder.world import WorldFrames, synthesise
from stepaudio.decoder.world_voice import Scale, WorldVoice
from stepaudio.tokenizer.nano import NanoTokenizerConfig, QuantisedStreams
from stepaudio.training.ahead import Ahead
from stepaudio.training.clips import Batches, Clip, held_out
from stepaudio.training.judge import Judge, Take, Verdict
from stepaudio.training.loop import Plan, Progress, train
from stepaudio.training.perception import Perception, load_encoder
from stepaudio.training.phonemes import label, load_classifier
from stepaudio.training.tokenizer import Autoencoder, Streams, Weights, code_usage
from stepaudio.training.work import Work

BATCH = 20
BOOKS = (LINGUISTIC_SIZE, SEMANTIC_SIZE)
PEOPLE = 0.5
"""Share of people's speech when a tokenizer is adapted to it."""
JITTER = 0.6
"""Levels by which the digits of some stretches are moved in training, at most."""


def build(scale: Scale, streams: Streams = "both") -> Autoencoder:
    """An untrained model of nano's size."""
    return Autoencoder(NanoTokenizerConfig(), RegressorConfig(), torch.from_numpy(scale.frames), streams)


def train_run(
    work: Path,
    run: str,
    sets: Sequence[str],
    plan: Plan,
    streams: Streams = "both",
    *,
    start: str | None = None,
    phonemes: str | None = None,
    people: float | None = None,
    perceived: str | None = None,
) -> Progress:
    """Train on the prepared sets, or go on; the run's folder is ``runs/RUN`` of the work folder.

    Args:
        work: the work folder.
        run: name of the run.
        sets: patterns of the names of the prepared shards.
        plan: how.
        streams: what the decoder gets to see.
        start: another run to start from.
        phonemes: the run of a phoneme classifier, which labels the recordings of people.
        people: share of people's speech; by default as there is.
        perceived: a phoneme classifier's run; it and a frozen Whisper encoder hear what is decoded.
    """
    place = Work(work)
    clips, kept = place.split(sets)
    scale = place.scale(clips)
    torch.manual_seed(0)
    model = build(scale, streams).to(plan.device)
    if start is not None:
        model.load_state_dict(place.best(start))
    if phonemes is not None:
        clips = label(work, phonemes, clips, device=plan.device)
    perception = hearing(place, scale, perceived, plan.device) if perceived else None
    batches = Batches(clips, scale, size=plan.batch or BATCH, people=people)
    ahead = Ahead(batches.draw, plan.loaders)
    test = Batches(kept, scale, size=64, shifted=0, seed=1).draw(0).to(plan.device)

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        assert isinstance(candidate, Autoencoder)
        figures = {
            name: float(value)
            for name, value in candidate.losses(test, Weights(), perception=perception).items()
        }
        streams = candidate.tokenizer(test.whisper, test.world)
        for name, size in zip(("linguistic", "semantic"), BOOKS, strict=True):
            figures[f"{name}_bits"] = code_usage(getattr(streams, f"{name}_codes"), size)[1]
        return figures

    def loss(step: int) -> dict[str, torch.Tensor]:
        return model.losses(ahead(step).to(plan.device), Weights(), JITTER, perception=perception)

    return train(model, loss, evaluate, place.folder / "runs" / run, plan)


def adapt_run(
    work: Path,
    run: str,
    codes_of: str,
    sets: Sequence[str],
    plan: Plan,
    phonemes: str,
    heads_first: int = 0,
    spoken: str | None = None,
    perceived: str | None = None,
) -> Progress:
    """Teach a trained tokenizer more of people's speech, while the teacher's keeps its codes, or go on.

    A language model that was trained on the codes goes on to fit.

    Args:
        work: the work folder.
        run: name of the run.
        codes_of: the run to start from.
        sets: patterns of the names of the prepared shards.
        plan: how.
        phonemes: the run of a phoneme classifier, which labels the recordings of people.
        heads_first: steps in which tokenizer and decoder stay, while what judges them starts anew.
        spoken: run of the tokenizer whose codes are kept, where it is another.
        perceived: a phoneme classifier's run; it and a frozen Whisper encoder hear what is decoded.
    """
    place = Work(work)
    clips, kept = place.split(sets)
    model, scale = load_run(work, codes_of)
    kept_codes = load_run(work, spoken)[0].tokenizer if spoken else copy.deepcopy(model.tokenizer)
    anchor = kept_codes.eval().requires_grad_(False).to(plan.device)
    model = model.to(plan.device)
    perception = hearing(place, scale, perceived, plan.device) if perceived else None
    labelled = label(work, phonemes, clips, device=plan.device)
    batches = Batches(labelled, scale, size=plan.batch or BATCH, people=PEOPLE)
    ahead = Ahead(batches.draw, plan.loaders)
    people = [clip for clip in label(work, phonemes, kept) if not clip.taught]
    test = Batches(people, scale, size=64, shifted=0, seed=1).draw(0).to(plan.device)

    def evaluate(candidate: nn.Module) -> Mapping[str, float]:
        assert isinstance(candidate, Autoencoder)
        return {
            name: float(value)
            for name, value in candidate.losses(test, Weights(), perception=perception).items()
        }

    def loss(step: int) -> dict[str, torch.Tensor]:
        for part in (model.tokenizer, model.decoder):
            part.requires_grad_(step >= heads_first)
        return model.losses(ahead(step).to(plan.device), Weights(), JITTER, anchor, perception)

    return train(model, loss, evaluate, place.folder / "runs" / run, plan)


def hearing(work: Work, scale: Scale, classifier: str, device: str = "cpu") -> Perception:
    """The frozen encoder of the card ``whisper-tiny.en``, which must be here, and a run's classifier."""
    from stepaudio import hub

    encoder = load_encoder(hub.folder("whisper-tiny.en"))
    return Perception(encoder, scale, load_classifier(work, classifier)).to(device)


def load_run(work: Path, run: str, streams: Streams = "both") -> tuple[Autoencoder, Scale]:
    """The best model of a run; its decoder gets to see `streams`.

    Raises:
        ModelError: there is none.
    """
    place = Work(work)
    weights = place.best(run)
    scale = place.scale()
    model = build(scale, streams)
    model.load_state_dict(weights)
    return model.eval(), scale


def tokenise(model: Autoencoder, scale: Scale, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """The codes of a whole clip, (2 G,) and (3 G,) int64."""
    return tokenise_all(model, scale, [clip])[0]


@torch.inference_mode()
def tokenise_all(
    model: Autoencoder, scale: Scale, clips: Sequence[Clip], batch: int = 64
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The codes of whole clips; those of one length are read together."""
    device = model.frame_scale.device
    codes: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    order = sorted(range(len(clips)), key=lambda index: clips[index].groups)
    for _, same in groupby(order, key=lambda index: clips[index].groups):
        alike = list(same)
        for first in range(0, len(alike), batch):
            part = alike[first : first + batch]
            worlds = [clips[i].world for i in part]
            relative = np.stack([scale.relative(world, WorldVoice.of(world)) for world in worlds])
            whisper = np.stack([clips[i].whisper for i in part]).astype(np.float32)
            streams: QuantisedStreams = model.tokenizer(
                torch.from_numpy(whisper).to(device), torch.from_numpy(relative).to(device)
            )
            rows = zip(
                part,
                streams.linguistic_codes.cpu().numpy(),
                streams.semantic_codes.cpu().numpy(),
                strict=True,
            )
            codes |= {index: (linguistic, semantic) for index, linguistic, semantic in rows}
    return [codes[index] for index in range(len(clips))]


@torch.inference_mode()
def decode(
    model: Autoencoder,
    scale: Scale,
    linguistic: torch.Tensor,
    semantic: torch.Tensor,
    voice: WorldVoice,
    speaker: np.ndarray | None,
) -> WorldFrames:
    """Codes (2 G,) and (3 G,) in a voice to WORLD frames."""
    tokenizer = model.tokenizer
    told = torch.from_numpy(scale.voice(voice, speaker))[None]
    made = model.decode(
        tokenizer.linguistic_codebook.values(linguistic)[None],
        tokenizer.semantic_codebook.values(semantic)[None],
        told,
    )[0]
    made[:, 1] = torch.sigmoid(made[:, 1])
    return WorldFrames.from_array(scale.absolute(made.numpy(), voice))


def measure_run(
    work: Path,
    run: str,
    sets: Sequence[str],
    sound: Callable[[Clip], Audio],
    texts: Mapping[str, str],
    count: int,
    streams: Streams = "both",
) -> Iterator[str]:
    """Judge clips that were not trained on; yields a line for each set and kind of sound.

    ``recording`` and ``copy`` (through WORLD only) are the bounds of ``codes`` (in the clip's own voice);
    ``other clip`` decodes in the voice of another clip of the same speaker, as cloning does.

    Args:
        work: the work folder.
        run: name of the run.
        sets: patterns of shards; of sets that were trained on, what was held out is taken.
        sound: gives the recording of a clip.
        texts: what is said, by clip.
        count: clips of a set.
        streams: what the decoder gets to see.
    """
    judge = default_judge()
    model, scale = load_run(work, run, streams)
    for name in sets:
        clips = [clip for clip in Work(work).clips([name]) if "_dev" in clip.name or held_out(clip)]
        clips = [clip for clip in clips if clip.groups > 8]
        clips = clips[:: max(1, len(clips) // count)][:count]
        kinds: dict[str, list[Take]] = {"recording": [], "copy": [], "codes": [], "other clip": []}
        for index, clip in enumerate(clips):
            recording, text = sound(clip), texts[clip.name]
            linguistic, semantic = tokenise(model, scale, clip)
            codes = torch.from_numpy(linguistic), torch.from_numpy(semantic)
            made = synthesise(decode(model, scale, *codes, WorldVoice.of(clip.world), clip.speaker))
            copy = synthesise(WorldFrames.from_array(clip.world))
            for kind, audio in (("recording", recording), ("copy", copy), ("codes", made)):
                kinds[kind].append(Take(audio, text, recording, recording))
            other = clips[index - 1]
            if clip.who and other.who == clip.who and other is not clip:
                cloned = decode(model, scale, *codes, WorldVoice.of(other.world), other.speaker)
                kinds["other clip"].append(Take(synthesise(cloned), text, recording, recording))
        for kind, takes in kinds.items():
            if takes:
                verdict: Verdict = judge(takes)
                yield f"{name:24} {kind:12} {verdict}"


def usage_run(work: Path, run: str, sets: Sequence[str]) -> Iterator[str]:
    """Count the codes of all clips of the sets; yields a line for each codebook.

    Args:
        work: the work folder.
        run: name of the run.
        sets: patterns of shards.
    """
    model, scale = load_run(work, run)
    clips = Work(work).clips(sets)
    streams = zip(*tokenise_all(model, scale, clips), strict=True)
    for name, size, codes in zip(("linguistic", "semantic"), BOOKS, streams, strict=True):
        said = torch.from_numpy(np.concatenate(codes))
        share, bits = code_usage(said, size)
        yield f"{name:10} {share:6.1%} of {size} codes used, {bits:.2f} bits each  (n={len(said)})"


def default_judge() -> Judge:
    """The judge with the models of the cards, which must be here."""
    from stepaudio import hub

    return Judge(hub.folder("whisper-base"), hub.folder("speaker-ge2e"), hub.folder("dnsmos"))
