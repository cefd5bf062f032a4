"""The family step-audio-2 on a converted folder with tiny random weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import official_models as official
import pytest
import torch
from fake_openai import Answer, end_chunk, serve, text_chunk
from hypothesis import given, settings
from hypothesis import strategies as st

import stepaudio
from stepaudio.api import StepAudio
from stepaudio.audio import Audio, concat
from stepaudio.cloning.consent import Consent
from stepaudio.convert import convert_folder
from stepaudio.dialogue.events import AudioDelta, TextDelta
from stepaudio.errors import InputError, ModelError
from stepaudio.families.step2_model import Step2Model, Ta4Grammar
from stepaudio.families.step2_voice import S3Codes
from stepaudio.families.step2_writer import LocalWriter
from stepaudio.families.step_audio_2 import StepAudio2
from stepaudio.lm.prompts import step2, tasks
from stepaudio.lm.prompts.messages import (
    Message,
    TextPart,
    TokenPart,
    ToolCallPart,
    assistant,
    open_turn,
    system,
    tool_result,
    user,
)
from stepaudio.lm.prompts.tasks import TaskSampling
from stepaudio.lm.prompts.vocabulary import TTS_START, Vocabulary
from stepaudio.lm.sampling import Phase
from stepaudio.voices import Voice

FIRST_CODE, TTS_END, EOT, PAD = 151696, 151694, 151665, 151695
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "", "parameters": {}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("step-audio-2")
    made = official.step_audio_2(root / "Step-Audio-2-mini")
    (made / "assets").mkdir()
    for index, name in enumerate(("default_female", "default_male")):
        official.clip(1.0, seed=index).save(made / "assets" / f"{name}.wav")
    return convert_folder(made, root / "converted")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER", "SERVER_MODEL", "DEVICE", "EARS"):
        monkeypatch.delenv(f"STEPAUDIO_{name}", raising=False)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> StepAudio:
    return stepaudio.load(str(folder), device="cpu")


@pytest.fixture
def family(loaded: StepAudio) -> StepAudio2:
    assert isinstance(loaded.family.partner, StepAudio2)
    return loaded.family.partner


class Scripted(Step2Model):
    """The model with its ids given: each reply is the next of the script; the prompts are kept."""

    def __init__(self, folder: Path, *replies: list[int | str]):
        super().__init__(folder)
        self.replies = list(replies)
        self.prompts: list[step2.Prompt] = []
        self.drawn = 0

    def ids(self, prompt: step2.Prompt, **_: Any) -> Iterator[int]:
        self.prompts.append(prompt)
        for item in self.replies.pop(0):
            for token in [item] if isinstance(item, int) else self.tokenizer.encode(item):
                self.drawn += 1
                yield token


def scripted(
    loaded: StepAudio, folder: Path, *replies: list[int | str], kind: Any = "instruct"
) -> tuple[StepAudio2, Scripted]:
    model = Scripted(folder, *replies)
    whole = loaded.family.partner
    assert isinstance(whole, StepAudio2)
    return StepAudio2(LocalWriter(model, base=kind == "base"), whole.voices, kind=kind), model


def spoken(words: str, codes: int) -> list[int | str]:
    """A spoken reply: one byte of `words`, four codes, and so on."""
    ids: list[int | str] = []
    for group in range(max(len(words), -(-codes // 4))):
        ids.append(words[group] if group < len(words) else PAD)
        ids += [FIRST_CODE + (7 * group + k) % 6561 if 4 * group + k < codes else 158257 for k in range(4)]
    return [*ids, TTS_END]


def vocabulary() -> Vocabulary:
    return Vocabulary(151688, 151690, 151689, 151693, TTS_END, PAD, FIRST_CODE, frozenset({EOT, 151643}))


def legal(phase: Phase, token: int) -> bool:
    assert phase.legal is not None
    return bool(phase.legal[token])


@given(st.lists(st.integers(0, 158719), max_size=30))
@settings(max_examples=40, deadline=None)
def test_words_and_codes_keep_their_places(generated: list[int]) -> None:
    grammar = _GRAMMAR
    phase = grammar.speech(generated)
    over = TTS_END in generated
    place = len(generated) % 5
    assert legal(phase, FIRST_CODE) == legal(phase, 158257) == (not over and place > 0)
    assert legal(phase, 100) == (over or place == 0)
    assert legal(phase, PAD) == legal(phase, TTS_END) == (not over and place == 0)
    assert legal(phase, EOT) == (over or place == 0)
    for never in (151666, 151688, 151690, 151693, 158258, 158719):
        assert not legal(phase, never)
        assert not legal(grammar.text(generated), never)
    assert not legal(grammar.text(generated), FIRST_CODE)


_GRAMMAR = Ta4Grammar(vocabulary(), 158720, 151666, frozenset({EOT, 151643}))


def test_what_is_drawn_is_a_well_formed_reply(family: StepAudio2) -> None:
    writer = family.writer
    assert isinstance(writer, LocalWriter)
    prompt = step2.chat_prompt([user("hello"), open_turn(TTS_START)])
    for seed in range(6):
        ids = list(writer.model.ids(prompt, speech=True, sampling=TaskSampling(1.0, 120), seed=seed))
        for place, token in enumerate(ids):
            assert legal(_GRAMMAR.speech(ids[:place]), token)


def test_a_clip_is_encoded_once_however_often_it_is_heard(
    loaded: StepAudio, family: StepAudio2, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = family.writer
    assert isinstance(writer, LocalWriter)
    calls: list[int] = []
    real = writer.model.encoder.features
    monkeypatch.setattr(writer.model.encoder, "features", lambda pieces: calls.append(1) or real(pieces))
    chat = loaded.chat(seed=1)
    clip = official.clip(1.3, seed=7)
    chat.send(clip)  # heard by the reply and by the transcript
    chat.send(text="and now?")
    chat.send(clip)
    assert len(calls) == 1


def test_a_conversation_that_goes_on_gives_what_a_fresh_model_gives(folder: Path) -> None:
    clip, other = official.clip(1.0), official.clip(1.0, seed=3)
    sampling = TaskSampling(0.0, 12)

    def ids(model: Step2Model, *turns: Message) -> list[int]:
        prompt = step2.chat_prompt([*turns, open_turn(TTS_START)])
        return list(model.ids(prompt, speech=True, sampling=sampling, seed=1))

    going = Step2Model(folder)
    first = ids(going, user(clip))
    read: list[int] = []
    forward = going.lm.forward
    going.lm.forward = lambda *args, **given: (  # type: ignore[method-assign]
        read.append((given["inputs_embeds"] if "inputs_embeds" in given else args[0]).shape[1])
        or forward(*args, **given)
    )
    history = (user(clip), assistant(TextPart(TTS_START), TokenPart(tuple(first))), user("more"))
    assert ids(going, *history) == ids(Step2Model(folder), *history)
    whole, begun = (
        len(step2.chat_prompt([*turns, open_turn(TTS_START)]).ids(going.tokenizer))
        for turns in (history, history[:1])
    )
    # Only what came after the first reply was read, and its last id, which nothing had followed.
    assert read[0] == whole - (begun + len(first) - 1)
    # Another sound of the same length has the same ids, and is not taken for the first.
    assert ids(going, user(other)) == ids(Step2Model(folder), user(other))


def test_speech_comes_before_the_reply_is_complete(loaded: StepAudio, folder: Path) -> None:
    model, script = scripted(loaded, folder, [*spoken("Hello you", 100), EOT])
    voice = loaded.voice("default_female")
    first = None
    chunks = []
    for piece in model.answer([user("hi")], voice=voice, style=loaded.style(None), seed=1):
        if piece.audio is not None:
            first = first or script.drawn
            chunks.append(piece.audio)
    assert first is not None
    assert first <= 28 * 5 // 4 + 5  # a second of codes and the look-ahead
    assert script.drawn > 100
    assert concat(chunks).seconds == pytest.approx(4.0, abs=0.05)


def test_the_history_keeps_the_raw_ids(loaded: StepAudio, folder: Path) -> None:
    reply = [*spoken("Hello", 20), "See you"]
    model, script = scripted(loaded, folder, [*reply, EOT], [*spoken("Yes", 12), EOT])
    sa = StepAudio(stepaudio.families.base.Family("x", loaded.family.ears, model, model, partner=model))
    chat = sa.chat(voice="default_male", seed=1)
    answer = chat.send(text="hi")
    assert answer.text == "HelloSee you"
    kept = chat.history[1]
    ids = tuple(
        t for item in reply for t in ([item] if isinstance(item, int) else script.tokenizer.encode(item))
    )
    assert kept.parts == (TextPart(TTS_START), TokenPart(ids))
    chat.send(text="more")
    assert script.prompts[1].pieces[1:] == (
        "<|BOT|>human\nhi<|EOT|>", "<|BOT|>assistant\n", TTS_START, ids, "<|EOT|>",
        "<|BOT|>human\nmore<|EOT|>", f"<|BOT|>assistant\n{TTS_START}",
    )  # fmt: skip


def test_tools_are_declared_called_and_answered(loaded: StepAudio, folder: Path) -> None:
    call = '<tool_call>function\nget_weather\n{"location": "Paris"}</tool_call>'
    model, script = scripted(loaded, folder, [*spoken("Wait", 16), call, EOT], [*spoken("Sun", 12), EOT])
    voice = loaded.voice("default_female")
    said = [system("SYS"), user("Weather in Paris?")]
    reply = model.reply(said, voice=voice, tools=[WEATHER], seed=1)
    assert reply.text == "Wait"
    assert [(each.name, each.arguments) for each in reply.tool_calls] == [
        ("get_weather", {"location": "Paris"})
    ]
    assert script.prompts[0].pieces[1].startswith('<|BOT|>tool_json_schemas\n[{"type": "function"')
    asked = [*said, assistant(ToolCallPart("get_weather", {"location": "Paris"})), tool_result("sunny")]
    assert model.reply(asked, voice=voice, tools=[WEATHER], seed=1).text == "Sun"
    assert "<|BOT|>input\n" in script.prompts[1].pieces
    assert "sunny" in script.prompts[1].pieces


def test_thinking_takes_two_passes_and_leaves_no_trace(loaded: StepAudio, folder: Path) -> None:
    model, script = scripted(
        loaded, folder, ["she is sad", 151668, "never read"], [*spoken("Oh no", 20), EOT], kind="think"
    )
    answers = list(
        model.answer([user("hi")], voice=loaded.voice("default_male"), style=loaded.style(None), seed=1)
    )
    assert script.prompts[0].pieces[-1] == "<|BOT|>assistant\n\n<think>\n"
    assert script.prompts[1].pieces[-1] == f"<|BOT|>assistant\n\n<think>\nshe is sad</think>\n\n{TTS_START}"
    turn = answers[-1].turn
    assert turn is not None
    assert turn.parts[0] == TextPart(TTS_START)
    assert "".join(answer.text for answer in answers) == "Oh no"


def test_the_base_checkpoint_knows_no_roles(loaded: StepAudio, folder: Path) -> None:
    model, script = scripted(loaded, folder, ["a bell", 151643], [*spoken("Hi", 8), 151643], kind="base")
    assert model.caption(official.clip(1.0)) == "a bell"
    assert script.prompts[0].pieces[0] == tasks.CAPTION.instruction
    assert script.prompts[0].pieces[1].startswith("<audio_start><audio_patch>")
    assert len(script.prompts[0].pieces) == 2
    sound = list(model.speak("Hi.", voice=loaded.voice("default_male"), style=loaded.style(None), seed=1))
    assert script.prompts[1].pieces == (tasks.READ_ALOUD["en"] + "Hi.", TTS_START)
    assert concat(sound).seconds == pytest.approx(0.32, abs=0.01)


def test_tasks(loaded: StepAudio, folder: Path) -> None:
    model, script = scripted(
        loaded, folder,
        ["<RESPONSE>a dog</RESPONSE>", EOT], ["hello", EOT], [*spoken("hello", 24), EOT],
        ["<English>so it is", EOT],
    )  # fmt: skip
    clip = official.clip(1.0)
    assert model.ask(clip, "What barks?") == "a dog"
    assert script.prompts[0].pieces[-3] == "What barks?"
    assert model.translate(clip, "zh").text == "hello"
    aloud = model.translate(clip, "en", voice=loaded.voice("default_male"), seed=1)
    assert aloud.audio is not None
    assert aloud.audio.seconds == pytest.approx(0.96, abs=0.01)
    assert "翻译成英文并用语音播报" in script.prompts[2].pieces[0]
    with pytest.raises(InputError, match="cannot translate into 'fr'"):
        loaded.translate(clip, "fr")
    ears = stepaudio.families.cascade.PromptedEars(model.listen, model.load)
    assert [segment.text for segment in ears.transcribe(clip)] == ["so it is"]
    assert script.prompts[3].pieces[0] == "<|BOT|>system\n请记录下你所听到的语音内容。<|EOT|>"


def test_the_tiny_weights_go_all_the_way(loaded: StepAudio) -> None:
    clip = official.clip(1.0)
    loaded.transcribe(clip)
    assert isinstance(loaded.caption(clip), str)
    first, second = (loaded.speak("Hi.", seed=2) for _ in range(2))
    np.testing.assert_array_equal(first.samples, second.samples)
    events = list(loaded.chat(voice="default_male", seed=2).turn(clip))
    assert {TextDelta, AudioDelta} <= {type(event) for event in events}


def test_voices_and_codes(loaded: StepAudio, tmp_path: Path) -> None:
    clip = official.clip(1.5, rate=44100)
    voice = loaded.clone(clip, name="me", consent=Consent.declared("it is me"), check=False)
    assert voice.tensors["mel"].shape == (80, 2 * voice.tensors["codes"].size)
    voice.save(tmp_path / "me.safetensors")
    again = Voice.load(tmp_path / "me.safetensors")
    codes = loaded.tokenize(clip)
    assert isinstance(codes, S3Codes)
    assert loaded.codec.read(codes.to_json()) == codes
    sound = [
        loaded.detokenize(codes, voice=each, seed=1, watermark=False)
        for each in (voice, again, "default_female")
    ]
    np.testing.assert_array_equal(sound[0].samples, sound[1].samples)
    assert not np.array_equal(sound[0].samples, sound[2].samples)
    assert sound[0].sample_rate == 24000
    assert sound[0].seconds == pytest.approx(len(codes.semantic) / 25)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "a JSON object"),
        ({"linguistic": [1], "semantic": [2]}, "semantic, seconds and rates alone"),
        ({"semantic": "1 2"}, "list of integers"),
        ({"semantic": [6561]}, r"not in 0\.\.6560"),
        ({"semantic": [1], "seconds": "long"}, "seconds must be a number"),
    ],
)
def test_codes_of_another_form(data: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        S3Codes.from_json(data)


def test_a_served_model_speaks_here(folder: Path) -> None:
    audio = "".join(f"<audio_{k}>" for k in range(48))
    delta = {"choices": [{"index": 0, "delta": {"tts_content": {"tts_text": "Hello", "tts_audio": audio}}}]}
    heard = Answer([text_chunk("a question"), end_chunk()])
    with serve(Answer([delta, end_chunk()]), heard, models=("step-audio-2-mini",)) as server:
        sa = stepaudio.load(str(folder), server=server.url)
        chat = sa.chat(voice="default_male", seed=1)
        reply = chat.send(official.clip(1.0))
        assert (reply.text, reply.transcript) == ("Hello", "a question")
        assert reply.audio is not None
        assert reply.audio.seconds == pytest.approx(48 / 25, abs=0.01)
        server.answers[:] = [Answer([delta, end_chunk()])]
        chat.send(text="more")
    body = server.requests[-1]
    assert body["messages"][2]["tts_content"]["tts_audio"] == audio
    assert body["messages"][-1] == {"role": "assistant", "content": TTS_START}


def test_damage_is_one_clear_error(folder: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    flow = broken / "decoder" / "flow.safetensors"
    flow.write_bytes(flow.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"flow\.safetensors: has 1000 bytes"):
        stepaudio.load(str(broken))
    size = (folder / "decoder" / "flow.safetensors").stat().st_size
    flow.write_bytes(bytes(size))
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        stepaudio.load(str(broken)).speak("Hi.", voice="default_male")


def test_a_quiet_clip_is_no_trouble(loaded: StepAudio) -> None:
    loaded.transcribe(Audio(np.zeros(8000, np.float32), 16000))
