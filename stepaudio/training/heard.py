"""Recordings as nano's ear hears them, kept in shards: as they are, said in another manner, and disturbed."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stepaudio.audio import Audio
from stepaudio.decoder import expression
from stepaudio.effects import Effect
from stepaudio.features.heard import RATE, Heard, Hearing
from stepaudio.training.engine.shards import TAKES, read_takes

Variant = Literal["plain", "styled", "paced", "disturbed"]
VARIANTS: tuple[Variant, ...] = ("plain", "styled", "paced", "disturbed")
LONGEST_S = 16.0
"""Longer recordings are left out."""
PER_SHARD = 100
LOW_HZ, HIGH_HZ = 135.0, 180.0
"""Median F0 up to which a voice is low, and from which it is high."""
PACES = {"slow": (0.55, 0.78), "normal": (0.9, 1.12), "fast": (1.28, 1.75)}
"""Speeds that are clearly slow, normal and fast; one is how fast people read aloud."""
GENDERS = {"f": "woman", "m": "man"}
KINDS = {"": "neutral", "calm": "calm", "excited": "excited", "whisper": "whispering"}
"""The answer to the question of emotion by name of a style."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Something said, and what was heard.

    Attributes:
        name: of the recording; all variants of one share it.
        variant: how it was changed.
        text: what is said, as somebody would type it; "" if nobody knows.
        heard: by Whisper.
        facts: what is known of how it was said, by name of the question.
    """

    name: str
    variant: str
    text: str
    heard: Heard
    facts: Mapping[str, str] = field(default_factory=dict)


def hear(
    folder: Path,
    out: Path,
    hearing: Hearing,
    variant: Variant,
    shards: int = 10_000,
) -> Iterator[Path]:
    """Hear a set and yield its shards as they are written; those that exist already are left.

    Args:
        folder: with ``manifest.jsonl`` of ``audio`` and what is known of it, or a folder of the data engine.
        out: gets the shards.
        hearing: hears.
        variant: what is done to each recording first.
        shards: most of them.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = list(_rows(folder))
    for first in range(0, min(len(rows), shards * PER_SHARD), PER_SHARD):
        path = out / f"{folder.name}-{variant}-{first // PER_SHARD:04d}.npz"
        if path.exists():
            continue
        found, facts = [], []
        for place, row in rows[first : first + PER_SHARD]:
            audio = Audio.read(place / row["audio"])
            if audio.seconds > LONGEST_S:
                continue
            name = f"{folder.name}/{Path(row['audio']).stem}"
            samples, known = _changed(audio, row, variant, np.random.default_rng(zlib.crc32(name.encode())))
            heard = hearing(samples)
            if variant != "disturbed" and known.get("emotion") != "whispering":
                known |= of_pitch(heard.median_hz)
            found.append(heard)
            facts.append({"name": name, "variant": variant, "text": _text(row), "facts": known})
        if found:
            save_shard(path, found, facts)
            yield path


def read(folder: Path, sets: Sequence[str]) -> Iterator[Recording]:
    """Yield the recordings of sets that were heard, all variants."""
    for name in sets:
        for path in sorted(folder.glob(f"{name}-*.npz")):
            with np.load(path) as file:
                words, shares, manner = file["words"], file["shares"], file["manner"]
                ends, rows = np.cumsum(file["counts"]), json.loads(str(file["rows"]))
            starts = [0, *ends[:-1].tolist()]
            for place, row in enumerate(rows):
                at = slice(starts[place], int(ends[place]))
                heard = Heard(words[at], shares[at], manner[place])
                yield Recording(row["name"], row["variant"], row["text"], heard, row["facts"])


def save_shard(path: Path, found: Sequence[Heard], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what was heard, with what is known of it (fields of `Recording`)."""
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        np.savez(
            file,
            words=np.concatenate([each.words for each in found]),
            shares=np.concatenate([each.shares for each in found]),
            manner=np.stack([each.manner for each in found]),
            counts=np.array([len(each.words) for each in found]),
            rows=np.array(json.dumps(list(rows))),
        )
    draft.rename(path)


def _rows(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The lines of a data set or of a corpus, each with the folder its sound lies in."""
    manifest = folder / "manifest.jsonl"
    if manifest.is_file():
        for line in manifest.read_text("utf-8").splitlines():
            yield folder, json.loads(line)
        return
    for takes in sorted(folder.glob(f"*/{TAKES}")):
        for row in read_takes(takes.parent):
            yield takes.parent, row


def _text(row: Mapping[str, Any]) -> str:
    text = row.get("text") or ""
    return " ".join((text.lower() if text.isupper() else text).split())


def _changed(
    audio: Audio, row: Mapping[str, Any], variant: Variant, random: np.random.Generator
) -> tuple[np.ndarray, dict[str, str]]:
    """The samples of a variant at 16 kHz, and what is known by that."""
    known = _of_voice(row)
    speed = float(row.get("speed", 1.0))
    if variant == "plain":
        known |= of_speed(speed)
        if known.get("speed") == "normal":
            known["emotion"] = KINDS[(row.get("style") or {}).get("name", "")]
    elif variant == "styled":
        style = str(random.choice(list(KINDS)))
        audio = said_in(audio, style, random)
        known["emotion"] = KINDS[style]
        if style == "whisper":
            known.pop("gender", None)
    elif variant == "paced":
        rate = random.uniform(*PACES[str(random.choice(list(PACES)))]) / speed
        audio = said_in(audio, "", random, rate)
        known |= of_speed(rate * speed)
    behind = str(random.choice(["quiet", "noise", "music"])) if variant == "disturbed" else "quiet"
    samples = audio.resample(RATE).samples
    if variant == "disturbed":
        samples = with_background(samples, behind, random)
    return samples, known | {"background": behind}


def _of_voice(row: Mapping[str, Any]) -> dict[str, str]:
    """The gender: recordings tell it, and names of the teacher's voices begin with accent and gender."""
    genders = {name[1] for name in row.get("voices", ())} or {row.get("gender")}
    if len(genders) != 1 or isinstance(row.get("speaker"), dict):
        return {}
    (gender,) = genders
    return {"gender": GENDERS[gender]} if gender in GENDERS else {}


def of_pitch(median: float) -> dict[str, str]:
    """The answer to the question of pitch for a median F0 in Hz, if it is clear."""
    if median <= LOW_HZ:
        return {"pitch": "low"}
    return {"pitch": "high"} if median >= HIGH_HZ else {}


def of_speed(speed: float) -> dict[str, str]:
    """The answer to the question of speed, if it is clear."""
    for name, (low, high) in PACES.items():
        if low <= speed <= high:
            return {"speed": name}
    return {}


def said_in(audio: Audio, style: str, random: np.random.Generator, rate: float | None = None) -> Audio:
    """A recording said in a style of `KINDS`, by WORLD; also neutral speech has gone through it.

    Args:
        audio: the recording.
        style: of `KINDS`.
        random: draws how strong the style is.
        rate: how much faster it is said; ``None`` for what belongs to the style.
    """
    from stepaudio.decoder.world import WorldFrames, analyse, synthesise

    frames = analyse(audio).to_array()
    effect, usual = _effect(style, random)
    voiced = frames[frames[:, 1] > 0.5, 0]
    speaker = expression.Speaker(float(np.median(voiced)) if len(voiced) else float(np.log(150.0)))
    frames = expression.push(expression.start(effect, speaker), frames)
    places = np.arange(0, len(frames) - 1, rate or usual).astype(int)
    return synthesise(WorldFrames.from_array(frames[places]))


def _effect(style: str, random: np.random.Generator) -> tuple[Effect, float]:
    """What is done to frames in a style, and how fast it is said."""
    between = random.uniform
    if style == "excited":
        effect = Effect(pitch=between(0.8, 4.5), range=between(1.3, 1.9), level=between(1, 5))
        return replace(effect, tilt=between(0, 1.5)), between(1.0, 1.25)
    if style == "calm":
        effect = Effect(pitch=between(-2.5, -0.3), range=between(0.45, 0.85), level=between(-4, 0))
        return replace(effect, tilt=between(-1, 0)), between(0.78, 0.95)
    if style == "whisper":
        return Effect(whisper=True, level=between(-8, 0)), between(0.85, 1.1)
    return Effect(pitch=between(-0.8, 0.8), range=between(0.9, 1.1)), between(0.9, 1.1)


def with_background(samples: np.ndarray, behind: str, random: np.random.Generator) -> np.ndarray:
    """Samples at 16 kHz in a room and colour of their own, with ``noise``, ``music`` or nothing behind."""
    import torch

    from stepaudio.training.disturb import Background, disturb, make_music

    seed = int(random.integers(2**31))
    backgrounds: dict[str, Background] = {"quiet": "none", "noise": "noise", "music": "music"}
    sound = torch.from_numpy(samples)[None]
    # Its own piece of music for each recording: what is learned must not be a handful of pieces.
    music = make_music(1, len(samples) / RATE + 0.1, seed) if behind == "music" else torch.zeros_like(sound)
    generator = torch.Generator().manual_seed(seed)
    changed = disturb(sound, torch.tensor([len(samples)]), [backgrounds[behind]], music, generator)
    return changed[0].numpy()
