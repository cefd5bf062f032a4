"""The data engine with a quick teacher: planning, checking, stopping and going on, counting."""

import json
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from engine_fakes import Hopeful, Humming, Mute, hopeful, killing
from sizes import full_only

from stepaudio.audio import Audio
from stepaudio.errors import InputError, ModelError
from stepaudio.training.clips import load_shards
from stepaudio.training.corpus import Heard, analyse_known, describe, features
from stepaudio.training.engine import run
from stepaudio.training.engine.check import Checker, allowed
from stepaudio.training.engine.edits import Edit, Shift
from stepaudio.training.engine.jobs import Checking, Making
from stepaudio.training.engine.plan import Planner, is_held_out, known_voices, read_lines
from stepaudio.training.engine.recipe import Check, Recipe, load_recipe, with_texts
from stepaudio.training.engine.report import as_text, report
from stepaudio.training.engine.sentences import fill
from stepaudio.training.engine.shards import finished, read_facts, read_takes, shard_folder
from stepaudio.workers.local import InProcess, Processes

RECIPE = Path(__file__).resolve().parent.parent / "tts" / "engine.yaml"
FACTS = {"stepaudio": "test", "check": None}
TEXT = "we say so"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A small recipe whose only text is one sentence, so that the ears can know it."""
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "one.txt").write_text(f"{TEXT}\n")
    (folder / "two.txt").write_text(f"{TEXT}!\n")
    whole = load_recipe(RECIPE).model_dump(mode="json")
    source = {"weight": 1.0, "licence": "CC0-1.0"}
    texts = whole["texts"] | {"folder": str(folder), "sources": {"one": source, "two": source}, "made": None}
    texts |= {"held_out": 0, "finish": {"share": 0.0, "marks": ["."]}}
    return Recipe.model_validate(whole | {"texts": texts, "takes_per_shard": 4, "check": None})


def make(
    recipe: Recipe, out: Path, shards: int, teacher=Humming, executor=None, ears=hopeful
) -> run.Progress:
    """Make about so many shards of the quick teacher."""
    hours = shards * recipe.takes_per_shard * 1.0 / 3600
    job = Making(recipe, teacher, ears)
    return run.make(Planner.load(recipe), job, FACTS, out, hours, executor or InProcess())


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("*/*.flac"))} | {
        f"{number}": json.dumps(read_takes(folder)).encode() for number, folder in finished(out)
    }


def test_the_recipe_is_whole_and_strict(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPE)
    assert recipe.texts.weights["made"] == 0.09
    bad = tmp_path / "bad.yaml"
    bad.write_text(RECIPE.read_text().replace("takes_per_shard", "takes_per_chard"))
    with pytest.raises(InputError, match=r"bad\.yaml: takes_per_"):
        load_recipe(bad)
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


def test_patterns_are_filled_in_and_depend_on_the_seed() -> None:
    made = load_recipe(RECIPE).texts.made
    for pattern in made.patterns:
        text = fill(pattern, made.words, random.Random(3))
        assert "{" not in text
        assert text == fill(pattern, made.words, random.Random(3))
    assert fill("{5..5}:{7..7:02}", {}, random.Random(0)) == "5:07"
    with pytest.raises(InputError, match="words called colour"):
        fill("a {colour} one", {}, random.Random(0))


def test_a_take_depends_on_its_number_only_and_held_out_texts_are_never_used() -> None:
    recipe = load_recipe(RECIPE)
    lines = {name: [f"{name} says sentence {index}" for index in range(200)] for name in recipe.texts.sources}
    planner = Planner(recipe, lines, known_voices(recipe))
    takes = [planner.take(index) for index in range(400)]
    assert takes[7:14] == [Planner(recipe, lines, known_voices(recipe)).take(index) for index in range(7, 14)]
    assert planner.shard(2) == takes[80:120]
    kept = {line for part in lines.values() for line in part if is_held_out(line, recipe.texts.held_out)}
    assert len(kept) > 50
    said = {take.text.rstrip(".?") for take in takes}
    assert not {line[0].upper() + line[1:] for line in kept} & said
    assert not kept & said
    assert {len(take.voices) for take in takes} == {1, 2, 3}
    assert all(sum(take.voices.values()) == pytest.approx(1, abs=0.01) for take in takes)
    assert {take.language for take in takes} == {"en-us", "en-gb"}
    assert {take.set for take in takes} == set(recipe.texts.weights)
    assert 0.1 < np.mean([take.style is not None for take in takes]) < 0.3
    plain = recipe.model_copy(update={"styles": recipe.styles.model_copy(update={"share": 0.0})})
    for take in (Planner(plain, lines, known_voices(recipe)).take(index) for index in range(50)):
        assert (take.text, take.voices) == (takes[take.id].text, takes[take.id].voices)
        assert take.style is None


def test_the_recipe_plans_the_corpus_that_nano_was_trained_on(shared: Path) -> None:
    planner = Planner.load(with_texts(load_recipe(RECIPE), shared / "data" / "text"))
    first, second = planner.take(0), planner.take(1)
    assert first.text == "I'd like to order a normal latte and let's get it to go."
    assert first.voices == {"af_nicole": 0.474, "am_michael": 0.526}
    assert first.set == "taskmaster4_coffee_dialog_turns"
    assert second.text == "About 325,872 people live 38 km from Madrid."


def test_a_missing_text_or_voice_is_one_line(recipe: Recipe) -> None:
    (recipe.texts.folder / "two.txt").unlink()
    with pytest.raises(InputError, match=r"two\.txt: the text cannot be read"):
        read_lines(recipe.texts)
    voices = recipe.voices.model_copy(update={"shipped": ("zf_xiaobei",)})
    with pytest.raises(InputError, match="no voice zf_xiaobei"):
        known_voices(recipe.model_copy(update={"voices": voices}))


def test_edits_change_what_they_say() -> None:
    intent = Humming().intend(list(range(1, 20)), {}, 1.0)
    voiced = intent.pitch > 40
    intent.pitch[voiced] = 120 * np.exp(0.2 * np.sin(np.arange(voiced.sum()) / 5))
    spread = np.log(intent.pitch[voiced]).std()
    flat = Edit(name="flat", range=0.1, pitch=1.5).apply(intent)
    logs = np.log(flat.pitch[voiced])
    assert logs.std() == pytest.approx(0.1 * spread, rel=0.01)
    assert np.exp(np.median(logs)) == pytest.approx(1.5 * np.median(intent.pitch[voiced]), rel=0.01)
    np.testing.assert_array_equal(flat.pitch[~voiced], intent.pitch[~voiced])
    whisper = Edit(name="whisper", voiced=False, energy=-1).apply(intent)
    assert not whisper.pitch.any()
    assert np.all(whisper.energy == intent.energy - 1)


def test_a_shifted_speaker_has_another_pitch() -> None:
    teacher = Humming()
    intent = teacher.intend(list(range(1, 9)), {}, 1.0)
    sound, pitch = Shift(pitch=1.25, formants=1.1).apply(teacher.say(intent), intent.pitch)
    assert len(sound) == 600 * intent.durations.sum()
    assert pitch.max() == pytest.approx(150)
    f0 = analyse_known(sound, pitch).f0
    assert np.median(f0[f0 > 0]) == pytest.approx(150, rel=0.02)


def test_shards_are_made_and_made_again_the_same(recipe: Recipe, tmp_path: Path) -> None:
    progress = make(recipe, tmp_path / "one", 3)
    assert progress.done >= progress.goal
    row = read_takes(shard_folder(tmp_path / "one", 0))[1]
    sound = Audio.read(shard_folder(tmp_path / "one", 0) / row["audio"])
    assert sound.samples.size == 600 * sum(row["durations"])
    assert len(row["pitch"]) == 2 * sum(row["durations"])
    assert len(row["durations"]) == len(row["ids"]) + 2
    make(recipe, tmp_path / "two", 3, executor=Processes(2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_finished_shard_is_not_made_again(recipe: Recipe, tmp_path: Path) -> None:
    make(recipe, tmp_path, 2)
    before = contents(tmp_path)
    first = shard_folder(tmp_path, 0) / "takes.jsonl"
    first.unlink()  # as if killed before the end of this shard
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/takes.jsonl")}
    make(recipe, tmp_path, 2)
    assert contents(tmp_path) == before
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    with pytest.raises(InputError, match="another recipe"):
        make(recipe.model_copy(update={"seed": 5}), tmp_path, 2)


def test_a_killed_worker_loses_nothing(recipe: Recipe, tmp_path: Path) -> None:
    make(recipe, tmp_path / "whole", 2)
    # The sentences have 9 and 10 tokens: one of 7 makes the fake die, once.
    texts = {"one": "we say!", "two": "we say so"}
    for name, text in texts.items():
        (recipe.texts.folder / f"{name}.txt").write_text(text + "\n")
    make(recipe, tmp_path / "plain", 2)
    make(recipe, tmp_path / "killed", 2, partial(killing, tmp_path), Processes(2))
    assert (tmp_path / "died").exists(), "no worker was killed"
    assert contents(tmp_path / "killed") == contents(tmp_path / "plain")


def test_bad_takes_are_dropped_and_told(recipe: Recipe, tmp_path: Path, monkeypatch) -> None:
    checked = recipe.model_copy(update={"check": Check()})
    monkeypatch.setenv("ENGINE_FAKE_TEXT", TEXT)
    make(recipe, tmp_path / "all", 2)
    rows = [row for _, folder in finished(tmp_path / "all") for row in read_takes(folder)]
    wrong = rows[0]["seconds"]
    monkeypatch.setenv("ENGINE_FAKE_WRONG", str(round(1000 * wrong)))
    progress = make(checked, tmp_path / "some", 2)
    assert progress.dropped > 0
    found = report(tmp_path / "some")
    assert found["dropped"] == progress.dropped
    assert found["reasons"] == {"words are wrong": progress.dropped}
    assert sum(row["dropped"] for row in found["by_source"].values()) == progress.dropped
    facts = read_facts(shard_folder(tmp_path / "some", 0))
    assert facts["dropped"][0]["text"].startswith(TEXT)
    assert facts["dropped"][0]["heard"] == "something else altogether was said here"
    names = {row["audio"] for row in read_takes(shard_folder(tmp_path / "some", 0))}
    assert {path.name for path in shard_folder(tmp_path / "some", 0).glob("*.flac")} == names
    assert "words are wrong" in as_text(found)
    # The same rules on the corpus that was made without: the same takes go.
    run.check(checked, Checking(checked, hopeful), tmp_path / "all", InProcess())
    assert {row["id"] for row in facts["dropped"]} == {
        row["id"] for row in read_facts(shard_folder(tmp_path / "all", 0))["dropped"]
    }
    again = run.check(checked, Checking(checked, hopeful), tmp_path / "all", InProcess())
    assert again.goal == 0


def test_the_check_forgives_one_word_and_no_silence(monkeypatch) -> None:
    assert [allowed(words, 0.34) for words in (1, 2, 3, 10)] == [1, 1, 2, 4]
    checker = Checker(Check(), Hopeful())
    sound = np.full(24_000, 0.1, np.float32)
    monkeypatch.setenv("ENGINE_FAKE_TEXT", "It's five dollars and four cents now.")
    assert checker(sound, "It is $5.04, now", "en-us", 15).wer == 0
    assert checker(sound, "Two.", "en-us", 5).reason == "words are wrong"
    monkeypatch.setenv("ENGINE_FAKE_TEXT", " ")
    assert checker(sound, "Two.", "en-us", 5).reason == "nothing was heard"
    assert checker(sound * 0.01, "Two.", "en-us", 5).reason == "too quiet"
    assert checker(np.tile(sound, 9), "Two.", "en-us", 5).reason == "too long for its words"
    assert checker(sound[:2000], "Two.", "en-us", 5).reason == "too short for its words"
    assert checker(sound * np.nan, "Two.", "en-us", 5).reason == "the sound is empty or not finite"


def test_a_teacher_that_fails_ends_the_run_with_its_reason(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="RuntimeError: no voice today"):
        make(recipe, tmp_path, 1, Mute)
    # Nothing is finished: with a teacher that works the same shards are made.
    assert not list(finished(tmp_path))


def test_a_corpus_without_facts_can_be_counted(recipe: Recipe, tmp_path: Path) -> None:
    make(recipe, tmp_path, 1)
    (shard_folder(tmp_path, 0) / "shard.json").unlink()
    found = report(tmp_path)
    assert found["unchecked"] == found["shards"]
    assert "not checked" in as_text(found)
    with pytest.raises(InputError, match="no finished shard"):
        report(tmp_path / "elsewhere")


def test_features_of_a_shard_are_whole_groups_with_known_phonemes(recipe: Recipe, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    class Encoder:
        def clip(self, samples):
            return np.zeros((len(samples) // 320, 8), np.float32)

    class Speakers:
        def embed(self, audio):
            return np.ones(256, np.float32) / 16

    make(recipe, tmp_path, 1)
    folder = shard_folder(tmp_path, 0)
    rows = read_takes(folder)
    clips = [
        Heard(row["audio"][:3], Audio.read(folder / row["audio"]), np.asarray(row["pitch"])) for row in rows
    ]
    tensors = features(clips, Encoder(), Speakers())
    assert set(tensors) == {
        f"{row['audio'][:3]}.{part}" for row in rows for part in ("whisper", "world", "speaker")
    }
    save_file(tensors, tmp_path / "shard-00000.st")
    (tmp_path / "shard-00000.json").write_text(json.dumps(describe(rows)), "utf-8")
    read = load_shards(tmp_path, ["shard-*"])
    assert [clip.name for clip in read] == [f"shard-00000/{row['audio'][:3]}" for row in rows]
    for clip, row in zip(read, rows, strict=True):
        assert len(clip.world) == 12 * clip.groups
        assert len(clip.whisper) == 6 * clip.groups
        assert clip.whisper.dtype == np.float16
        assert set(clip.phonemes[: clip.groups]) <= {0, *row["ids"]}
        voiced = clip.world[:, 1] > 0.5
        assert np.exp(np.median(clip.world[voiced, 0])) == pytest.approx(max(row["pitch"]), rel=0.05)


@full_only
@pytest.mark.slow
def test_ray_makes_the_same_corpus(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from stepaudio.workers.cluster import RayCluster

    make(recipe, tmp_path / "local", 2)
    try:
        make(recipe, tmp_path / "ray", 2, executor=RayCluster("local", 2))
    except InputError as error:
        if "timed out during startup" not in str(error):
            raise
        pytest.skip("Ray gave up starting after its 30 s: this machine is too busy")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
