"""Prompts of every family against golden strings and ids; parsers of replies, whole and streamed."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.audio import Audio
from stepaudio.errors import InputError, ModelError
from stepaudio.lm.prompts import step2, step_chat, ta4, tasks, think, tool_calls, tts
from stepaudio.lm.prompts.messages import (
    AudioPart,
    Message,
    Part,
    TextPart,
    TokenPart,
    ToolCallPart,
    ToolResultPart,
    assistant,
    open_turn,
    system,
    tool_result,
    user,
)
from stepaudio.lm.prompts.vocabulary import Vocabulary

PAD = 151695  # stands in for <tts_pad>, whose real id is looked up by string
VOCABULARY = Vocabulary(
    audio_start=151688, audio_end=151689, audio_patch=151690, tts_start=151693, tts_end=151694, tts_pad=PAD,
    first_code=151696, stop=frozenset({151665}),
)  # fmt: skip
ROLES = {"human": "user", "user": "user", "system": "system", "assistant": "assistant", "input": "tool"}


@pytest.fixture(scope="module")
def facts(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "prompts.json").read_text())


def silence(name: str) -> Audio:
    return Audio(np.zeros(int(name.removeprefix("audio_").removesuffix(".wav")), np.float32), 16_000)


def part(item: dict[str, Any]) -> Part:
    if item["type"] == "audio":
        return AudioPart(silence(item["audio"]))
    return TokenPart(tuple(item["token"])) if item["type"] == "token" else TextPart(item["text"])


def message(turn: dict[str, Any]) -> Message:
    content = turn["content"]
    if isinstance(content, list):
        content = tuple(part(item) for item in content)
    return Message(ROLES[turn["role"]], content, closed=turn.get("eot", True))  # type: ignore[arg-type]


def conversation(turns: list[dict[str, Any]]) -> tuple[list[Message], list[dict[str, Any]]]:
    """Split the schemas' turn, which we declare apart, from the rest."""
    tools = [turn for turn in turns if turn["role"] == "tool_json_schemas"]
    rest = [message(turn) for turn in turns if turn["role"] != "tool_json_schemas"]
    return rest, json.loads(tools[0]["content"]) if tools else []


# --- Step-Audio-TTS-3B -------------------------------------------------------------------------------------


def codepoints(text: str) -> list[int]:
    return [100_000 + ord(char) for char in text]


def codepoints_with_leading_piece(text: str) -> list[int]:
    return [99_999, *codepoints(text)]


def test_tts_prompts_token_by_token(facts: dict[str, Any]) -> None:
    cases = facts["step_audio_1_tts_prompt"]["cases"]
    assert len(cases) == 10
    for case in cases:
        for encode, key in (
            (codepoints, "ids_with_codepoint_tokenizer"),
            (codepoints_with_leading_piece, "ids_with_codepoint_tokenizer_and_leading_piece"),
        ):
            prompt = tts.speech_prompt(
                encode,
                case["text"],
                clip_text=case["prompt_text"],
                clip_ids=case["prompt_codes"],
                speaker=case["speaker_argument"],
            )
            assert list(prompt.ids) == case[key], case["text"]
            assert (prompt.decoder == "music") is case["uses_music_decoder"]
        assert tts.leading_tag(case["text"]) == case["detected_instruction"]
        assert "system\n" + tts.system_prompt(case["text"], case["speaker_argument"]) == case["system_text"]


def test_tts_system_prompts(facts: dict[str, Any]) -> None:
    prompts = facts["step_audio_1_tts_prompt"]["system_prompts"]
    assert tts.system_prompt("你好") == prompts["normal_without_speaker"]
    assert tts.system_prompt("你好", "Anna") == prompts["normal_with_speaker_template"].format("Anna")
    assert tts.system_prompt("(RAP)你好", "Anna") == prompts["rap"]
    assert tts.system_prompt("(哼唱)你好", "Anna") == prompts["humming"]


def test_leading_tags(facts: dict[str, Any]) -> None:
    for case in facts["step_audio_1_instruction_detection"]:
        assert tts.leading_tag(case["text"]) == case["instruction"], case["text"]


@settings(max_examples=100, deadline=None)
@given(
    tag=st.text(st.characters(exclude_characters="()（）"), min_size=1),
    rest=st.text(st.characters(exclude_characters="）")),
)
def test_a_tag_in_ascii_brackets_is_found(tag: str, rest: str) -> None:
    if ")" not in rest.partition("(")[0]:
        assert tts.leading_tag(f"({tag}){rest}") == tag


# --- Step-Audio-Chat ---------------------------------------------------------------------------------------

AUDIO_TEXT = "<audio_5><audio_9><audio_1025><audio_1026><audio_1027>"


def chat_message(turn: dict[str, Any]) -> Message:
    content = turn["content"]
    if isinstance(content, dict):
        content = (
            TextPart(content["text"]) if content["type"] == "text" else AudioPart(silence("audio_16.wav")),
        )
    return Message(ROLES[turn["role"]], content)  # type: ignore[arg-type]


def test_step_audio_chat(facts: dict[str, Any]) -> None:
    for case in facts["step_audio_1_chat_template"]["cases"]:
        turns = [chat_message(turn) for turn in case["messages"]]
        assert step_chat.render(turns, audio_text=lambda _: AUDIO_TEXT) == case["rendered"]


def test_step_audio_chat_default_system_and_tools() -> None:
    helpful = step_chat.render([user("hi")], default_system="helpful")
    assert helpful == (
        "<|BOT|>system\nYou are a helpful assistant.<|EOT|><|BOT|>human\nhi<|EOT|><|BOT|>assistant\n"
    )
    assert step_chat.render([system("S"), user("hi")], default_system="helpful").startswith(
        "<|BOT|>system\nS<"
    )
    with_tools = step_chat.render([system("S"), user("hi")], tools=[{"type": "function"}])
    assert '<|EOT|><|BOT|>tool_json_schemas\n[{"type": "function"}]<|EOT|><|BOT|>human' in with_tools
    assert step_chat.render([user("a"), open_turn("so")]) == "<|BOT|>human\na<|EOT|><|BOT|>assistant\nso"
    with pytest.raises(InputError, match="no tokenizer"):
        step_chat.render([user(silence("audio_16.wav"))])
    with pytest.raises(InputError, match="token ids"):
        step_chat.render([user(TokenPart((1,)))], audio_text=lambda _: "")


# --- Step-Audio 2 ------------------------------------------------------------------------------------------


def as_pieces(pieces: list[Any]) -> tuple[step2.Piece, ...]:
    return tuple(tuple(piece) if isinstance(piece, list) else piece for piece in pieces)


def test_step_audio_2_conversations(facts: dict[str, Any]) -> None:
    cases = facts["step_audio_2_messages"]["cases"]
    assert len(cases) == 14
    for case in cases:
        turns, tools = conversation(case["messages"])
        prompt = step2.chat_prompt(turns, tools=tools)
        assert prompt.pieces == as_pieces(case["pieces"]), case["name"]
        assert prompt.rendered() == case["rendered"]
        assert [(len(sound) + 479) // 160 for sound in prompt.audio] == case["mel_frames"]


def test_step_audio_2_base(facts: dict[str, Any]) -> None:
    for case in facts["step_audio_2_base_messages"]["cases"]:
        items = [item if isinstance(item, str) else part(item) for item in case["messages"]]
        assert step2.base_prompt(items).pieces == as_pieces(case["pieces"])


def test_serving_fork_rendering(facts: dict[str, Any]) -> None:
    fork = step2.Dialect(result_role="function_output", unterminated_system=True)
    for case in facts["step_audio_2_vllm_string_rendering"]["cases"]:
        names = {
            call["id"]: call["function"]["name"]
            for turn in case["conversation"]
            for call in turn.get("tool_calls", [])
        }
        turns = [fork_message(turn, names) for turn in case["conversation"]]
        if case.get("continue_final_message"):
            turns[-1] = open_turn(turns[-1].text)
        if case.get("add_generation_prompt"):
            turns.append(open_turn())
        prompt = step2.chat_prompt(turns, tools=case.get("tools", []), dialect=fork)
        assert prompt.rendered() == case["rendered"], case["name"]


def fork_message(turn: dict[str, Any], names: dict[str, str]) -> Message:
    role, content = turn["role"], turn["content"]
    if role == "tool":
        return tool_result(content, name=names[turn["tool_call_id"]])
    if role in ("input", "function_output"):
        return tool_result(content)
    if calls := turn.get("tool_calls"):
        parts = [ToolCallPart(call["function"]["name"], call["function"]["arguments"]) for call in calls]
        return assistant(content, *parts)
    return Message(ROLES[role], content)  # type: ignore[arg-type]


def test_tools_without_system_are_well_formed_by_default() -> None:
    rendered = step2.chat_prompt([user("q")], tools=[{"type": "function"}]).rendered()
    assert rendered == '<|BOT|>tool_json_schemas\n[{"type": "function"}]<|EOT|><|BOT|>human\nq<|EOT|>'


def test_audio_at_another_rate_is_resampled() -> None:
    prompt = step2.chat_prompt([user(Audio(np.zeros(44_100, np.float32), 44_100))])
    assert [len(sound) for sound in prompt.audio] == [16_000]
    assert prompt.rendered().count("<audio_patch>") == 13


def test_prompt_ids_are_encoded_piece_by_piece() -> None:
    seen: list[str] = []

    class Tokenizer:
        vocab_size = 0

        def encode(self, text: str) -> list[int]:
            seen.append(text)
            return [len(text)]

        def decode(self, ids: Any, *, skip_special: bool = True) -> str:
            return ""

        def token_id(self, piece: str) -> int:
            return 0

    turns = [user("a", "bc"), assistant(TokenPart((7, 8)))]
    ids = step2.chat_prompt(turns).ids(Tokenizer())
    assert seen == ["<|BOT|>human\n", "a", "bc", "<|EOT|>", "<|BOT|>assistant\n", "<|EOT|>"]
    assert ids == [len(seen[0]), 1, 2, 7, len(seen[4]), 7, 8, 7]


# --- one text, four codes ----------------------------------------------------------------------------------


def test_interleave(facts: dict[str, Any]) -> None:
    for case in facts["ta4_interleave"]["cases"]:
        codes = [token - VOCABULARY.first_code for token in case["audio_ids"]]
        want = [PAD if token == "<tts_pad>" else token for token in case["interleaved"]]
        assert ta4.interleave(case["text_ids"], codes, VOCABULARY) == want


def test_parse(facts: dict[str, Any]) -> None:
    case = facts["ta4_parse"]
    streams = ta4.parse_ids(case["ids"], VOCABULARY)
    assert list(streams.spoken_text) == case["tts_text_ids"]
    assert [code + VOCABULARY.first_code for code in streams.codes] == case["tts_audio_ids"]
    assert list(streams.text) == case["other_ids"]


def test_split_by_range(facts: dict[str, Any]) -> None:
    case = facts["step_audio_2_output_split"]
    text, codes = ta4.split_ids(case["ids"], VOCABULARY)
    assert text == case["text_ids"]
    assert codes == case["audio_codes_for_vocoder"]


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(st.integers(0, 151_000), max_size=12),
    codes=st.lists(st.integers(0, 6560), max_size=40),
    after=st.lists(st.integers(0, 151_000), max_size=5),
    cuts=st.lists(st.integers(0, 80), max_size=6),
)
def test_streamed_parse_gives_back_what_was_interleaved(
    text: list[int], codes: list[int], after: list[int], cuts: list[int]
) -> None:
    ids = [*ta4.interleave(text, codes, VOCABULARY)[1:], *after, 151665, 5, 151700]
    whole = ta4.parse_ids(ids, VOCABULARY, speaking=True)
    assert (whole.spoken_text, whole.codes, whole.text) == (tuple(text), tuple(codes), tuple(after))
    assert whole.stopped
    state = ta4.start_parse(VOCABULARY, speaking=True)
    edges = [0, *sorted(cuts), len(ids)]
    parts = [ta4.push_ids(state, ids[a:b]) for a, b in itertools.pairwise(edges)]
    assert tuple(t for p in parts for t in p.spoken_text) == tuple(text)
    assert tuple(c for p in parts for c in p.codes) == tuple(codes)
    assert tuple(t for p in parts for t in p.text) == tuple(after)


def test_parse_survives_a_broken_rhythm() -> None:
    first = VOCABULARY.first_code
    ids = [11, 12, first + 1, PAD, first + 2, 151688, 158700, 13, first + 3, 151694, 20, 151693, 14, first]
    streams = ta4.parse_ids(ids, VOCABULARY, speaking=True)
    assert streams.spoken_text == (11, 12, 13, 14)
    assert streams.codes == (1, 2, 3, 0)
    assert streams.text == (20,)
    assert not streams.stopped


def test_interleave_and_vocabulary_refuse_nonsense() -> None:
    with pytest.raises(InputError, match="6561"):
        ta4.interleave([1], [6561], VOCABULARY)
    with pytest.raises(ModelError, match="distinct"):
        Vocabulary(1, 1, 2, 3, 4, 5, first_code=9, stop=frozenset())
    with pytest.raises(ModelError, match="below"):
        Vocabulary(1, 2, 3, 4, 5, 10, first_code=9, stop=frozenset())


# --- tool calls --------------------------------------------------------------------------------------------


def test_tool_calls(facts: dict[str, Any]) -> None:
    for case in facts["tool_call_parse"]["cases"]:
        reply = tool_calls.parse_reply(case["output"])
        assert reply.text == (case["content"] or "")
        # Unlike the reference we drop blanks around the name: "search  " names no tool.
        want = [(call["name"].strip(), call["arguments"]) for call in case["tool_calls"]]
        assert [(call.name, call.arguments_json()) for call in reply.calls] == want
        assert (reply.problem is None) is ("<tool_call>" not in case["output"] or bool(want))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("function\nsearch", "three fields"),
        ("method\nsearch\n{}", "kind 'method'"),
        ("function\n \n{}", "names no tool"),
        ("function\nsearch\n[1]", "not a JSON object"),
        ("function\nsearch\n{", "not JSON"),
    ],
)
def test_malformed_calls_say_why(body: str, problem: str) -> None:
    reply = tool_calls.parse_reply(f"ok<tool_call>{body}</tool_call>")
    assert reply.calls == ()
    assert reply.text == f"ok<tool_call>{body}</tool_call>"
    assert problem in (reply.problem or "")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(
    name=st.text("abcdefg_-.", min_size=1, max_size=12),
    arguments=st.dictionaries(st.text(max_size=6), JSON_VALUES, max_size=4),
    before=st.text("abc 你好\n<>", max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_calls_survive_the_round_trip_whole_and_streamed(
    name: str, arguments: dict[str, Any], before: str, cuts: list[int]
) -> None:
    call = ToolCallPart(name, arguments)
    written = before + tool_calls.render_call(call) + "after"
    reply = tool_calls.parse_reply(written)
    assert (reply.text, reply.calls) == (before + "after", (call,))
    state = tool_calls.start_calls()
    edges = [0, *sorted(cuts), len(written)]
    pushed = [tool_calls.push_text(state, written[a:b]) for a, b in itertools.pairwise(edges)]
    pushed.append(tool_calls.finish_calls(state))
    assert "".join(reply.text for reply in pushed) == before + "after"
    assert [call for reply in pushed for call in reply.calls] == [call]


def test_an_end_mark_inside_an_argument_does_not_end_the_call() -> None:
    call = ToolCallPart("search", {"query": "a</tool_call>b"})
    assert tool_calls.parse_reply(tool_calls.render_call(call)).calls == (call,)


def test_streamed_calls_hold_nothing_back_needlessly() -> None:
    state = tool_calls.start_calls()
    assert tool_calls.push_text(state, "Hello <b>").text == "Hello <b>"
    assert tool_calls.push_text(state, "x <tool").text == "x "
    assert tool_calls.push_text(state, "box>").text == "<toolbox>"
    assert tool_calls.push_text(state, "<tool_call>function\nf\n{").text == ""
    rest = tool_calls.finish_calls(state)
    assert rest.text == "<tool_call>function\nf\n{"
    assert rest.problem == "a tool call is not finished"


# --- thinking, tasks ---------------------------------------------------------------------------------------


def test_think_passes(facts: dict[str, Any]) -> None:
    cases = {case["name"]: case for case in facts["step_audio_2_messages"]["cases"]}
    question = user(AudioPart(silence("audio_16000.wav")))
    first = step2.chat_prompt([question, think.thought_turn()])
    assert first.rendered() == cases["think_pass_1"]["rendered"]
    # The released client cuts the last character and puts it back; the server's stop string stays whole.
    for generated in ("THOUGHT</think", "THOUGHT</think>", "THOUGHT</think>more"):
        second = step2.chat_prompt([question, think.speech_turn(think.thought_of(generated))])
        assert second.rendered() == cases["think_pass_2"]["rendered"]
    assert think.thought_of("a < b") == "a < b"
    assert think.thought_of("cut </") == "cut </"
    assert think.speech_turn("T", "server").content == "<think>T</think>\n\n<tts_start>"


def test_task_prompts() -> None:
    clip = silence("audio_38400.wav")
    asr = step2.chat_prompt(tasks.task_messages(tasks.ASR, clip)).rendered()
    assert asr.startswith("<|BOT|>system\n请记录下你所听到的语音内容。<|EOT|><|BOT|>human\n<audio_start>")
    assert asr.endswith("<audio_end><|EOT|><|BOT|>assistant\n")
    assert tasks.translation("zh").instruction == "请仔细聆听这段语音，然后将其内容翻译成中文。"
    assert (
        tasks.translation("zh", speech=True).instruction
        == "请仔细聆听这段语音，然后将其内容翻译成中文并用语音播报。"
    )
    english = "Please listen carefully to this audio and then translate its content into Chinese"
    assert tasks.translation("zh", chinese_prompt=False).instruction == f"{english}."
    assert tasks.translation("zh", speech=True, chinese_prompt=False).instruction == f"{english} speech."
    spoken = step2.chat_prompt(tasks.task_messages(tasks.translation("en", speech=True), clip)).rendered()
    assert spoken.endswith("<|BOT|>assistant\n<tts_start>")
    asked = step2.chat_prompt(tasks.task_messages(tasks.AUDIO_QA, clip, "Which bird?"))
    assert asked.pieces[3] == "Which bird?"
    for target, speech in (("fr", False), ("ja", True)):
        with pytest.raises(InputError, match="targets are"):
            tasks.translation(target, speech=speech)
    with pytest.raises(InputError, match="audio, a question"):
        tasks.task_messages(tasks.ASR, None)
    read = step2.base_prompt(tasks.base_items(tasks.READ_ALOUD["zh"] + "你好", speech=True))
    assert read.pieces == ("以自然的语速读出下面的文字。\n你好", "<tts_start>")


def test_language_tags_and_responses() -> None:
    assert tasks.strip_language_tag("<中文>今天") == "今天"
    assert tasks.strip_language_tag(" <英语> hello <英语>") == "hello <英语>"
    assert tasks.strip_language_tag("<English>hello") == "hello"
    for kept in ("<b>hello", "<audio_5>", "<think>x", "a <中文>", "<|EOT|>"):
        assert tasks.strip_language_tag(kept) == kept
    assert tasks.response("so <RESPONSE> B </RESPONSE>.") == "B"
    assert tasks.response(" B ") == "B"


# --- messages ----------------------------------------------------------------------------------------------


def test_messages_are_strict() -> None:
    with pytest.raises(InputError, match="unknown role 'human'"):
        Message("human", "x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="assistant turn cannot hold AudioPart"):
        Message("assistant", (AudioPart(silence("audio_16.wav")),))
    with pytest.raises(InputError, match="not int"):
        Message("user", 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Audio, not str"):
        AudioPart("q.wav")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="string, not int"):
        TextPart(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="non-negative"):
        TokenPart((-1,))
    assert user("a", TextPart("b")).text == "ab"
    assert Message("user", [TextPart("a")]).content == (TextPart("a"),)  # type: ignore[arg-type]
    assert tool_result("3000", name="search", instruction="!").parts == (
        ToolResultPart("3000", "search"), TextPart("!"),
    )  # fmt: skip
