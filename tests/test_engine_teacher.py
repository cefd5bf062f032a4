"""The data engine with the real teacher: its halves are the whole, and it makes takes."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from stepaudio import hub
from stepaudio.errors import ModelError
from stepaudio.training.engine.teacher import GRAPH, Kokoro, SecondHalf, cut_graph

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
TEXT = "The kettle is on."


@pytest.fixture(scope="module")
def folder() -> Path:
    pytest.importorskip("onnx", reason="the extra train is not installed")
    try:
        hub.folder("kokoro-voices")
        return hub.folder("kokoro-82m")
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Kokoro:
    return Kokoro(folder, hub.folder("kokoro-voices"))


def test_the_halves_are_the_whole(folder: Path, teacher: Kokoro) -> None:
    from stepaudio.decoder.kokoro_graph import Kokoro as Whole
    from stepaudio.training.engine.teacher import read_table

    voice = "bf_emma"
    phonemes, ids = teacher.phonemes(TEXT, "en-gb")
    intent = teacher.intend(ids, {voice: 1.0}, 1.1)
    sound = teacher.say(intent)
    table = read_table(hub.folder("kokoro-voices") / f"{voice}.bin")
    (whole,) = Whole(folder, 1).synthesize(phonemes, table, 1.1)
    assert len(intent.durations) == len(ids) + 2
    assert len(sound) == len(whole) == 600 * intent.durations.sum()
    assert len(intent.pitch) == len(intent.energy) == 2 * intent.durations.sum()
    np.testing.assert_allclose(np.clip(sound, -1, 1), whole, atol=1e-4)
    # In floats instead of integers it is nearly the same sound.
    floats = SecondHalf(folder / GRAPH, "torch")(intent)
    assert len(floats) == len(whole)
    assert np.corrcoef(floats, whole)[0, 1] > 0.8
    assert abs(20 * np.log10(floats.std() / whole.std())) < 3


def test_another_graph_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"rubbish")
    for path in (tmp_path / "model.onnx", folder / "nothing.onnx"):
        with pytest.raises(ModelError, match="not the teacher's graph"):
            cut_graph(path, ("tokens",), ("audio",))


def test_two_takes_of_the_real_teacher(folder: Path, tmp_path: Path) -> None:
    from test_engine import RECIPE

    from stepaudio.training.clips import load_shards
    from stepaudio.training.corpus import Extracting
    from stepaudio.training.engine import jobs, run
    from stepaudio.training.engine.plan import Planner
    from stepaudio.training.engine.recipe import load_recipe
    from stepaudio.training.engine.report import report
    from stepaudio.training.engine.shards import finished, provenance, read_facts, read_takes
    from stepaudio.workers.local import InProcess

    recipe = load_recipe(RECIPE)
    texts = recipe.texts.model_copy(update={"sources": {}})
    recipe = recipe.model_copy(update={"texts": texts, "takes_per_shard": 2})
    job = jobs.Making(recipe, partial(jobs.load_kokoro, "graph"), jobs.load_whisper)
    out = tmp_path / "corpus"
    run.make(Planner.load(recipe), job, provenance(recipe, "graph"), out, 0.5 / 3600, InProcess())
    found = report(out)
    assert found["takes"] + found["dropped"] >= 2
    assert found["takes"] >= 1
    (_, shard), *_ = finished(out)
    assert read_facts(shard)["teacher"]["licence"]
    run.extract(out, tmp_path / "features", Extracting(), InProcess())
    clips = load_shards(tmp_path / "features", [shard.name])
    assert len(clips) == len(read_takes(shard))
    assert all(clip.whisper.shape[1] == 384 for clip in clips)
