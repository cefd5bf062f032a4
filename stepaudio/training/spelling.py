"""Which phonemes recordings of people hold: by their texts, or by ear where nobody wrote one."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepaudio.audio import Audio


def spell_set(data: Path, features: Path, language: str = "en-us") -> Iterator[str]:
    """Write the phonemes of a set beside its features, and yield the names of the shards.

    Args:
        data: folder of the recordings.
        features: folder where `corpus.extract_set` has been.
        language: of the recordings.
    """
    from stepaudio import hub
    from stepaudio.decoder.kokoro_graph import read_vocab
    from stepaudio.recognition import WhisperEars

    vocab = read_vocab(hub.folder("kokoro-82m") / "vocab.json")
    ears = WhisperEars(hub.folder("whisper-base"))

    def hear(key: str) -> str:
        sound = Audio.read(next(data.glob(f"{key}.*")))
        return " ".join(part.text.strip() for part in ears.transcribe(sound, language[:2]))

    for path in sorted(features.glob(f"{data.name}-*.json")):
        takes = spell(json.loads(path.read_text("utf-8")), vocab, hear, language)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(takes), "utf-8")
        unfinished.replace(path)
        yield path.stem


def spell(
    takes: Sequence[Mapping[str, Any]], vocab: Mapping[str, int], hear: Callable[[str], str], language: str
) -> list[dict[str, Any]]:
    """Takes with ``ids``, the teacher's phonemes of their texts.

    Args:
        takes: as `clips.read_takes` gives them.
        vocab: id of each phoneme; others are left out.
        hear: gives the text of a take without one, by its key.
        language: of the texts.
    """
    from stepaudio.decoder.kokoro_graph import phoneme_ids
    from stepaudio.speech.g2p import phonemize
    from stepaudio.speech.normalise import normalise

    spelled = []
    for take in takes:
        text = take["text"] or hear(take["key"])
        phonemes = phonemize(normalise(text, language), language)
        ids = phoneme_ids(phonemes, vocab)
        spelled.append({**take, "text": text, "ids": ids})
    return spelled
