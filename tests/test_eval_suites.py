"""The suites: published layouts, wrong ones, and figures worked out by hand; systems through HTTP."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eval_behind import behind
from eval_fakes import Napping, tone
from eval_server import as_json, serve
from fakes import fake_family
from typer.testing import CliRunner

from stepaudio.api import StepAudio
from stepaudio.audio import Audio
from stepaudio.cli.eval import app
from stepaudio.errors import InputError
from stepaudio.evaluation.items import Output
from stepaudio.evaluation.report.compare import compare_runs
from stepaudio.evaluation.runner.folder import RunFolder
from stepaudio.evaluation.runner.jobs import JudgeSpec
from stepaudio.evaluation.runner.steps import Plan, run_all
from stepaudio.evaluation.suites import list_suites, load_suite
from stepaudio.evaluation.suites.base import Bench, Stage
from stepaudio.evaluation.systems import Conversation, load_system
from stepaudio.evaluation.systems.base import Answer
from stepaudio.evaluation.systems.family import FamilySystem
from stepaudio.lm.prompts.messages import assistant, system, user
from stepaudio.workers.work import Patience

MINIATURES = Path(__file__).parent.parent / "evals" / "miniatures"
NAPPING = "python:eval_fakes:Napping"
COUNTS = {
    "asr": 6,
    "codec": 4,
    "spoken-qa": 8,
    "stepeval-audio-360": 9,
    "stepeval-paralinguistic": 6,
    "stepeval-toolcall": 8,
    "style": 35,
    "tts": 4,
}


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_every_miniature_is_in_its_layout(name):
    suite = load_suite(name)
    items = suite.read(MINIATURES / name)
    assert len(items) == COUNTS[name]
    assert len({item.id for item in items}) == len(items)
    assert suite.read(MINIATURES / name) == items
    names = {metric.name for metric in suite.metrics()}
    for item in items:
        json.dumps(item.content)
        assert set(suite.missed(item).scores) <= names
        for key in ("audio", "prompt"):
            if key in item.content:
                assert Audio.read(MINIATURES / name / item.content[key]).seconds > 0.5


def test_the_miniatures_are_small_and_complete():
    assert sorted(COUNTS) == list_suites()
    assert sum(path.stat().st_size for path in MINIATURES.rglob("*") if path.is_file()) <= 5_000_000


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_an_empty_folder_is_one_clear_line(name, tmp_path):
    with pytest.raises(InputError, match="not the expected layout") as caught:
        load_suite(name).read(tmp_path)
    assert "\n" not in str(caught.value)


def test_librispeech_and_aishell_layouts(tmp_path):
    book = tmp_path / "libri" / "84" / "121123"
    book.mkdir(parents=True)
    tone(0.2).save(book / "84-121123-0000.flac")
    (book / "84-121123.trans.txt").write_text("84-121123-0000 GO DO YOU HEAR\n")
    [item] = load_suite("asr").read(tmp_path / "libri")
    assert item.id == "84/121123/84-121123-0000"
    assert item.content["text"] == "GO DO YOU HEAR"

    folder = tmp_path / "aishell"
    (folder / "wav" / "test" / "S0764").mkdir(parents=True)
    (folder / "transcript").mkdir()
    tone(0.2).save(folder / "wav" / "test" / "S0764" / "BAC009S0764W0121.wav")
    script = "BAC009S0002W0122 而 对 楼市\nBAC009S0764W0121 甚至 出现 交易\n"
    (folder / "transcript" / "aishell_transcript_v0.8.txt").write_text(script, encoding="utf-8")
    [item] = load_suite("asr").read(folder)
    assert item.content["language"] == "zh"
    verdict = load_suite("asr").judge(item, Output("甚至出线交"), Bench(folder))
    assert verdict.scores["cer"] == (2.0, 6.0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"audio": "a.wav"}, "the field text is missing"),
        ({"audio": "b.wav", "text": "x"}, "there is no sound b.wav"),
        ({"audio": "../a.wav", "text": "x"}, "leads out of the data folder"),
        ({"audio": "a.wav", "text": " "}, "no reference text"),
        ({"audio": 3, "text": "x"}, "wrong type"),
        ([], "expected an object"),
    ],
)
def test_a_wrong_manifest_is_one_clear_line(tmp_path, line, reason):
    tone(0.2).save(tmp_path / "a.wav")
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(InputError, match=reason) as caught:
        load_suite("asr").read(tmp_path)
    assert "manifest.jsonl" in str(caught.value) or "out of" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_parquet_columns_are_named(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "data").mkdir()
    parquet.write_table(pa.table({"id": ["1"], "category": ["x"]}), tmp_path / "data" / "a.parquet")
    expected = "expected the columns conversation_id, category, conversation; found id, category"
    with pytest.raises(InputError, match=expected):
        load_suite("stepeval-audio-360").read(tmp_path)
    (tmp_path / "data" / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="not a readable parquet file"):
        load_suite("stepeval-audio-360").read(tmp_path)


def write_table(path: Path, **columns) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)


def test_hub_tables_with_sounds_inside_are_read(tmp_path):
    sounds = [
        {"bytes": tone(length).to_wav_bytes(), "path": name} for length, name in ((0.2, "a.wav"), (0.3, ""))
    ]
    libri = {"file": ["x", "y"], "audio": sounds, "text": ["GO", "STOP"], "id": ["1-2-0", "1-2-1"]}
    write_table(tmp_path / "libri" / "clean" / "test" / "0000.parquet", **libri)
    for suite in ("asr", "codec"):
        items = load_suite(suite).read(tmp_path / "libri")
        assert [(item.id, item.content["text"]) for item in items] == [("1-2-0", "GO"), ("1-2-1", "STOP")]
    heard = [Audio.read(tmp_path / "libri" / item.content["audio"]).seconds for item in items]
    assert heard == pytest.approx([0.2, 0.3])

    for name, column in (("answer", ["Paris", "Rome"]), ("answers", [["Paris"], ["Rome", "Roma"]])):
        folder = tmp_path / name
        write_table(folder / "data" / "test.parquet", audio=sounds, question=["a?", "b?"], **{name: column})
        items = load_suite("spoken-qa").read(folder)
        assert [item.content["answers"][0] for item in items] == ["Paris", "Rome"]
        assert load_suite("spoken-qa").read(folder) == items


def test_wrong_hub_tables_are_one_clear_line(tmp_path):
    path = tmp_path / "0000.parquet"
    write_table(path, audio=[{"bytes": b"", "path": "a.wav"}], text=["GO"])
    with pytest.raises(InputError, match="column id is missing; expected id, text, audio; found audio, text"):
        load_suite("asr").read(tmp_path)
    write_table(path, audio=[{"bytes": b"", "path": "a.wav"}], text=["GO"], id=["1"])
    with pytest.raises(InputError, match="audio holds no bytes"):
        load_suite("asr").read(tmp_path)
    path.write_bytes(b"PAR1 not really")
    for suite in ("asr", "spoken-qa"):
        with pytest.raises(InputError, match="not a readable parquet file"):
            load_suite(suite).read(tmp_path)


def test_data_come_from_the_hub_where_it_can_be_reached(tmp_path, monkeypatch):
    import huggingface_hub

    from stepaudio.evaluation.suites.hub import data_folder

    asked = []

    def reached(name, *, repo_type, allow_patterns):
        asked.append((name, repo_type, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", reached)
    for suite in ("asr", "stepeval-audio-360"):
        assert data_folder(load_suite(suite).config, None) == tmp_path
    assert asked == [
        ("openslr/librispeech_asr", "dataset", ["clean/test/*.parquet"]),
        ("stepfun-ai/StepEval-Audio-360", "dataset", None),
    ]

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InputError, match=r"cannot fetch .*no route to host.*give a folder with --data"):
        data_folder(load_suite("asr").config, None)
    with pytest.raises(InputError, match="tts needs data: give a folder"):
        data_folder(load_suite("tts").config, None)


def test_sounds_in_an_archive_are_unpacked_and_cannot_leave_it(tmp_path):
    import shutil

    source, data = MINIATURES / "stepeval-audio-360", tmp_path / "data360"
    shutil.copytree(source, data)
    shutil.rmtree(data / "audios")
    with tarfile.open(data / "audios.tar.gz", "w:gz") as archive:
        archive.add(source / "audios", "audios")
    suite = load_suite("stepeval-audio-360")
    assert suite.read(data) == suite.read(source)

    shutil.rmtree(data / "audios")
    with tarfile.open(data / "audios.tar.gz", "w:gz") as archive:
        archive.add(source / "audios" / "dialogue-01-0.opus", "../../evil.opus")
    with pytest.raises(InputError, match="cannot be unpacked"):
        suite.read(data)
    assert not (tmp_path.parent / "evil.opus").exists()


def test_seed_lists(tmp_path):
    items = load_suite("tts").read(MINIATURES / "tts")
    assert items[0].content["prompt"] == "en/prompt-wavs/ada.opus"
    assert items[0].content["language"] == "en"
    (tmp_path / "meta.lst").write_text("a|b|c\n")
    with pytest.raises(InputError, match="line 1 has not"):
        load_suite("tts").read(tmp_path)


def test_webquestions_own_layout(tmp_path):
    rows = [{"url": "u", "utterance": "who?", "targetValue": '(list (description "A B") (description Cher))'}]
    (tmp_path / "webquestions.json").write_text(json.dumps(rows))
    [item] = load_suite("spoken-qa").read(tmp_path)
    assert item.content == {"question": "who?", "answers": ["A B", "Cher"]}


class Caller(Napping):
    """Calls the weather tool whenever the last request names a place; never anything else."""

    abilities = frozenset({"tools", "reply"})

    def reply(self, conversation):
        self.seen = conversation
        call = {"name": "get_weather", "arguments": {"location": "oslo"}}
        return Answer("", None, (call,))


def test_toolcall_figures_by_hand(tmp_path, monkeypatch):
    import eval_fakes

    monkeypatch.setattr(eval_fakes, "Caller", Caller, raising=False)
    plan = Plan("stepeval-toolcall", "python:eval_fakes:Caller", MINIATURES / "stepeval-toolcall")
    report = run_all(plan, RunFolder(tmp_path))
    values = {row["name"]: row["value"] for row in report["scores"]}
    # All eight call the weather: one hit, one false alarm; three get a call of the wrong tool.
    assert values == {
        "trigger_precision": 0.5,
        "trigger_recall": 0.25,
        "type_accuracy": 0.25,
        "parameter_accuracy": 1.0,
    }


def test_toolcall_dialogues_carry_their_history_and_tools():
    suite = load_suite("stepeval-toolcall")
    data = MINIATURES / "stepeval-toolcall"
    item = next(item for item in suite.read(data) if item.id.startswith("get_weather_positive"))
    caller = Caller()
    suite.perform(item, Stage(caller, data))
    assert [message.role for message in caller.seen.messages] == ["user", "assistant", "user"]
    assert [tool["function"]["name"] for tool in caller.seen.tools] == [
        "get_date_time",
        "get_weather",
        "timbre_rag",
        "web_search",
    ]
    assert item.content["gold"] == [{"name": "get_weather", "arguments": {"location": "Oslo"}}]


def test_a_dialogue_is_held_turn_by_turn():
    suite, data = load_suite("stepeval-audio-360"), MINIATURES / "stepeval-audio-360"
    item = next(item for item in suite.read(data) if item.group == "Role-playing")
    asked = []

    class Listener(Napping):
        def reply(self, conversation):
            asked.append([message.role for message in conversation.messages])
            return Answer("To the island.")

    output = suite.perform(item, Stage(Listener(), data))
    assert asked == [["user", "assistant", "user"]]
    assert output.details["dialogue"].startswith(
        "user: Pretend you are a ship's captain.\nassistant: Aye aye!"
    )
    own = replace(item, content={"turns": [item.content["turns"][0], item.content["turns"][2]]})
    asked.clear()
    suite.perform(own, Stage(Listener(), data))
    assert asked == [["user"], ["user", "assistant", "user"]]
    scores = suite.judge(item, output, Bench(data)).scores
    assert scores["checklist"] == (1.0, 1.0)
    assert scores["answered"] == (1.0, 1.0)


def test_the_dialogue_judge_is_used_when_there_is_one(tmp_path):
    verdict = json.dumps({"reason": "so", "factual": True, "relevant": False, "chat": 3})
    route = {
        "/chat/completions": lambda body, headers: as_json({"choices": [{"message": {"content": verdict}}]})
    }
    data = MINIATURES / "stepeval-audio-360"
    with serve(route) as url:
        judge = JudgeSpec(url + "#judge", 1, tmp_path / "cache")
        report = run_all(Plan("stepeval-audio-360", NAPPING, data, judge=judge), RunFolder(tmp_path / "run"))
    values = {row["name"]: row["value"] for row in report["scores"]}
    assert (values["factuality"], values["relevance"], values["chat"]) == (1.0, 0.0, 3.0)
    assert len(report["scores"][0]["groups"]) == 9
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<polygon") >= 5


def test_a_judge_that_fails_is_reported_and_not_counted(tmp_path):
    route = {"/chat/completions": lambda body, headers: (500, "text/plain", b"broken")}
    with serve(route) as url:
        judge = JudgeSpec(url + "#judge", 1, tmp_path / "cache")
        data = MINIATURES / "stepeval-audio-360"
        patience = Patience(2, 0.001)
        plan = Plan("stepeval-audio-360", NAPPING, data, 2, judge, patience)
        report = run_all(plan, RunFolder(tmp_path / "run"))
    assert len(report["unjudged"]) == 2
    assert "500" in report["unjudged"][0]["error"]
    assert report["scores"] == []


def test_a_system_that_cannot_do_it_is_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match="asr needs a system that can transcribe; world can: resynthesise"):
        run_all(Plan("asr", "world", MINIATURES / "asr"), RunFolder(tmp_path))
    assert not (tmp_path / "plan.jsonl").exists()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("python:no_such_module:x", "cannot make a system"),
        ("cascade:a,b", "not EARS,MIND,MOUTH"),
        ("http://127.0.0.1:1/v1#m?colour=red", "unknown option colour"),
    ],
)
def test_unusable_systems_are_one_clear_line(spec, reason):
    with pytest.raises(InputError, match=reason):
        load_system(spec)


def test_own_suites_are_read_from_yaml(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nkind: asr\ntitle: Mine\nlanguage: de\n")
    assert load_suite(str(path)).config.language == "de"
    path.write_text("name: mine\nkind: asr\ntitle: Mine\ncolour: red\n")
    with pytest.raises(InputError, match="colour: extra inputs"):
        load_suite(str(path))
    path.write_text("- 1\n")
    with pytest.raises(InputError, match="not the description of a suite"):
        load_suite(str(path))
    with pytest.raises(InputError, match="there is no suite 'nope'; there are: asr"):
        load_suite("nope")


def test_an_endpoint_is_heard_as_the_family_behind_it():
    family = StepAudio(fake_family())
    here = FamilySystem(family)
    with serve(behind(family)) as url:
        there = load_system(url + "#behind?voice=ada")
        clip = tone(0.5)
        assert there.transcribe(clip, "en").text == here.transcribe(clip, "en").text
        talk = Conversation((system("Be kind."), user("Hello"), assistant("Hi."), user(clip)))
        near, far = here.reply(talk), there.reply(talk)
        assert near.text == far.text
        assert far.audio.seconds == pytest.approx(near.audio.seconds, abs=0.01)
        assert far.timings["first_text_s"] <= far.timings["total_s"]
        said = there.speak("Good morning.", style=None, seed=0)
        expected = here.speak("Good morning.", style=None, seed=0)
        np.testing.assert_allclose(said.audio.samples, expected.audio.samples, atol=1e-4)
        assert {"transcribe", "reply"} <= there.abilities


def test_cli_runs_compares_and_lists(tmp_path):
    runner = CliRunner()
    common = ["--model", NAPPING, "--data", str(MINIATURES / "spoken-qa"), "--limit", "6"]
    first = runner.invoke(app, ["spoken-qa", *common, "--out", str(tmp_path / "a"), "--json"])
    assert first.exit_code == 0, first.output
    report = json.loads(first.stdout)
    values = {row["name"]: row["value"] for row in report["scores"]}
    assert values["contains"] == pytest.approx(1 / 6)  # it says Paris to everything
    second = runner.invoke(app, ["run", "spoken-qa", *common, "--out", str(tmp_path / "b")])
    assert second.exit_code == 0
    assert "| Contains a reference answer | 16.7 % |" in second.stdout
    both = runner.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    rows = json.loads(both.stdout)
    assert {row["difference"] for row in rows} == {0.0}
    assert {row["winner"] for row in rows} == {""}
    listed = json.loads(runner.invoke(app, ["suites", "--json"]).stdout)
    assert [row["name"] for row in listed] == list_suites()


def test_runs_of_different_suites_are_not_compared(tmp_path):
    run_all(Plan("spoken-qa", NAPPING, MINIATURES / "spoken-qa", 6), RunFolder(tmp_path / "a"))
    run_all(Plan("stepeval-audio-360", NAPPING, MINIATURES / "stepeval-audio-360"), RunFolder(tmp_path / "b"))
    with pytest.raises(InputError, match="cannot be compared"):
        compare_runs(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="holds no run"):
        compare_runs(tmp_path / "a", tmp_path / "nothing")
