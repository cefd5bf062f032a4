"""Recordings that the teacher made before: its first half tells once more what it said, and when.

A manifest line of such a recording names the phonemes, the mix of voices and the speed. Durations and pitch
are a function of those three; only where the recording was cut is not known, and its pitch tells that.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stepaudio.audio import Audio
from stepaudio.decoder.world import analyse
from stepaudio.training.align import FRAME_RATE, PITCH_RATE, TICKS, WORST, Said, find_offset
from stepaudio.training.corpus import Heard, describe, extract_rows


def extract_recorded(data: Path, out: Path, per_shard: int = 40) -> Iterator[str]:
    """Extract a folder of recordings of the teacher, and yield the names of the shards that were made.

    Recordings that do not fit what the teacher would say are left out.

    Args:
        data: folder with ``manifest.jsonl`` of ``audio``, ``text``, ``phonemes``, ``voices`` and ``speed``.
        out: folder of the features.
        per_shard: recordings in a file.
    """
    from stepaudio import hub
    from stepaudio.decoder.kokoro_graph import phoneme_ids, read_vocab
    from stepaudio.training.engine.teacher import GRAPH, FirstHalf, VoiceTables

    teacher = hub.folder("kokoro-82m")
    first, vocab = FirstHalf(teacher / GRAPH), read_vocab(teacher / "vocab.json")
    tables = VoiceTables(hub.folder("kokoro-voices"))

    def read(row: Mapping[str, Any]) -> tuple[dict[str, Any], Heard] | None:
        audio = Audio.read(data / row["audio"])
        ids = phoneme_ids(row["phonemes"], vocab)
        intent = first(ids, tables.mix(row["voices"], len(ids)), row["speed"])
        said = Said(intent.durations, intent.pitch)
        offset, error = find_offset(said, analyse(audio, method="dio").to_array())
        if error >= WORST:
            return None
        found = {"ids": ids, "durations": said.durations.tolist(), "offset": offset * TICKS / FRAME_RATE}
        (take,) = describe([{**row, **found}])
        return take, Heard(take["key"], audio, pitch_from(said, offset))

    return extract_rows(data, out, read, per_shard)


def pitch_from(said: Said, offset: int) -> np.ndarray:
    """The pitch of what was said from a WORLD frame on, (n,) Hz at 80 Hz; before its beginning none."""
    start = round(offset * PITCH_RATE / FRAME_RATE)
    return said.pitch[start:] if start >= 0 else np.concatenate((np.zeros(-start, np.float32), said.pitch))
