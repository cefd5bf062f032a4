"""The corpus on disk: folders of takes that appear whole or not at all.

    engine.json              the recipe of the corpus
    shard-00012/007.flac     the sound of the take 7 of the shard, 24 kHz mono
    shard-00012/shard.json   provenance, and the takes that were dropped with the reason
    shard-00012/takes.jsonl  a line a take; written last: a shard that has it is finished
    report.json, report.txt

A line has ``id``, ``set`` (source of the text), ``text``, ``voices`` (weights by name), ``speed``, ``audio``,
``phonemes``, ``language``, ``ids`` (tokens without the two ends), ``durations`` (ticks of 25 ms, ends
included), ``pitch`` (Hz at 80 Hz), ``seconds``; and where it applies ``style`` and ``speaker`` (see
`edits`), ``wer``.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stepaudio.errors import InputError
from stepaudio.training.engine.recipe import Recipe
from stepaudio.workers.journal import read_journal, write_atomically, write_journal

TAKES = "takes.jsonl"
FACTS = "shard.json"
RECIPE = "engine.json"
_PREFIX = "shard-"


def shard_folder(out: Path, number: int) -> Path:
    """The folder of a shard."""
    return out / f"{_PREFIX}{number:05d}"


def finished(out: Path) -> Iterator[tuple[int, Path]]:
    """Number and folder of the finished shards, in order."""
    for folder in sorted(out.glob(f"{_PREFIX}*")):
        number = folder.name.removeprefix(_PREFIX)
        if number.isdigit() and (folder / TAKES).is_file():
            yield int(number), folder


def read_takes(folder: Path) -> list[dict[str, Any]]:
    """The lines of a shard.

    Raises:
        InputError: a line is damaged.
    """
    return read_journal(folder / TAKES)


def read_facts(folder: Path) -> dict[str, Any]:
    """What is known of how a shard was made; empty for a corpus that was made without.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FACTS
    try:
        facts: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    return facts


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Replace a shard's facts."""
    write_atomically(folder / FACTS, _pretty(facts))


def write_takes(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the lines of a shard, which says that it is finished."""
    write_journal(folder / TAKES, rows)


def write_shard(
    out: Path, number: int, rows: list[dict[str, Any]], facts: Mapping[str, Any], sounds: bytes
) -> None:
    """Write a shard; killed on the way, it is not finished and will be made again.

    Args:
        out: the corpus.
        number: of the shard.
        rows: its lines.
        facts: its provenance and what was dropped.
        sounds: as `pack` gave them.
    """
    folder = shard_folder(out, number)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in unpack(sounds):
        write_atomically(folder / name, data)
    write_facts(folder, facts)
    write_takes(folder, rows)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Several files as one, the way a worker hands them over."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def unpack(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of packed files."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            yield Path(name).name, archive.read(name)


def claim(out: Path, recipe: Recipe) -> None:
    """Make a folder the corpus of a recipe.

    Raises:
        InputError: it holds the corpus of another one.
    """
    path = out / RECIPE
    asked = {"fingerprint": recipe.fingerprint, "recipe": recipe.model_dump(mode="json")}
    try:
        there = json.loads(path.read_text("utf-8"))["fingerprint"] if path.exists() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if there is None:
        write_atomically(path, _pretty(asked))
    elif there != recipe.fingerprint:
        raise InputError(f"{out}: holds a corpus of another recipe; choose another --out")


def provenance(recipe: Recipe, runner: str) -> dict[str, Any]:
    """What every shard says about where it comes from: recipe, versions, models and licences."""
    from importlib.metadata import version

    from stepaudio.hub import load_card
    from stepaudio.training.engine.plan import TEACHER_CARD, VOICES_CARD
    from stepaudio.training.engine.teacher import GRAPH

    teacher, voices = load_card(TEACHER_CARD), load_card(VOICES_CARD)
    graph = next(file for file in teacher.files if file.path == GRAPH)
    return {
        "recipe": {"name": recipe.name, "fingerprint": recipe.fingerprint, "seed": recipe.seed},
        "stepaudio": version("stepaudio"),
        "teacher": {
            "card": teacher.name,
            "licence": teacher.licence,
            "sha256": graph.sha256,
            "second_half": runner,
        },
        "voices": {"card": voices.name, "licence": voices.licence},
        "texts": {name: source.licence for name, source in recipe.texts.sources.items()},
        "check": None if recipe.check is None else recipe.check.model_dump(mode="json"),
    }


def _pretty(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
