"""The client of OpenAI-compatible servers, against a real HTTP server of ours on loopback."""

import base64
import socket
import threading
from typing import Any

import numpy as np
import pytest
from fake_openai import Answer, end_chunk, serve, text_chunk

from stepaudio.audio import Audio
from stepaudio.cancel import Cancel
from stepaudio.errors import InputError
from stepaudio.families.base import Mind
from stepaudio.families.remote import RemoteMind
from stepaudio.lm.prompts.messages import (
    Message,
    SpeechPart,
    TokenPart,
    ToolCallPart,
    assistant,
    open_turn,
    system,
    tool_result,
    user,
)
from stepaudio.serving.openai_client import OpenAIClient, RemoteError, Server
from stepaudio.serving.wire import (
    ChatOptions,
    Finished,
    SpeechDelta,
    TextDelta,
    ToolCalls,
    request_body,
)

HELLO = Answer([text_chunk("Hel"), text_chunk("lo 你好"), end_chunk()])
QUESTION = [user("hi")]


def client(url: str, waits: list[float] | None = None, **settings: Any) -> OpenAIClient:
    sleep = (lambda _: None) if waits is None else waits.append
    values = {"read_timeout": 60.0, **settings}
    return OpenAIClient(Server(url, "step-audio-chat", **values), sleep=sleep, jitter=lambda: 1.0)


def said(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, (TextDelta, SpeechDelta)))


def test_streams_text() -> None:
    with serve(HELLO) as fake:
        events = list(
            client(fake.url).stream([system("S"), *QUESTION], ChatOptions(temperature=0.7, stop=("x",)))
        )
    assert events == [TextDelta("Hel"), TextDelta("lo 你好"), Finished("stop")]
    assert fake.requests == [
        {
            "model": "step-audio-chat",
            "stream": True,
            "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "hi"}],
            "temperature": 0.7,
            "stop": ["x"],
        }
    ]


def test_text_arrives_while_the_server_still_writes() -> None:
    seen = threading.Event()
    with serve(Answer([text_chunk("a"), seen, text_chunk("b"), end_chunk()])) as fake:
        stream = client(fake.url, read_timeout=30.0).stream(QUESTION)
        assert next(stream) == TextDelta("a")
        seen.set()
        assert list(stream) == [TextDelta("b"), Finished("stop")]
        assert not fake.gave_up.is_set()


def test_speech_and_codes_of_the_fork() -> None:
    chunks = [
        {
            "choices": [
                {
                    "delta": {
                        "tts_content": {"tts_text": "<tts_start>好", "tts_audio": "<audio_7><audio_6561>"}
                    }
                }
            ]
        },
        {"choices": [{"delta": {"tts_content": {"tts_text": None, "tts_audio": "<audio_6560>"}}}]},
        text_chunk("后"),
        end_chunk(),
    ]
    with serve(Answer(chunks)) as fake:
        events = list(client(fake.url, dialect="step-audio-2").stream([*QUESTION, open_turn("<tts_start>")]))
    assert events == [SpeechDelta("好", (7,)), SpeechDelta("", (6560,)), TextDelta("后"), Finished("stop")]
    body = fake.requests[0]
    assert body["messages"][-1] == {"role": "assistant", "content": "<tts_start>"}
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False
    assert body["skip_special_tokens"] is False


def test_sound_made_by_the_server() -> None:
    sound = {"data": base64.b64encode(b"\x01\x02").decode(), "transcript": "hi"}
    with serve(Answer([{"choices": [{"delta": {"audio": sound}}]}, end_chunk()])) as fake:
        assert next(client(fake.url).stream(QUESTION)) == SpeechDelta("hi", (), b"\x01\x02")


def test_tool_calls_are_put_together() -> None:
    def piece(index: int, **function: str) -> dict[str, Any]:
        call: dict[str, Any] = {"index": index, "function": function}
        if "name" in function:
            call |= {"id": f"c{index}", "type": "function"}
        return {"choices": [{"delta": {"tool_calls": [call]}}]}

    chunks = [
        text_chunk("one moment"),
        piece(0, name="search", arguments=""),
        piece(0, arguments='{"query": '),
        piece(1, name="date", arguments="{}"),
        piece(0, arguments='"上证"}'),
        end_chunk("tool_calls"),
    ]
    calls = (ToolCallPart("search", {"query": "上证"}, "c0"), ToolCallPart("date", {}, "c1"))
    with serve(Answer(chunks)) as fake:
        tools = ({"type": "function", "function": {"name": "search"}},)
        events = list(client(fake.url).stream(QUESTION, ChatOptions(tools=tools)))
        assert events[1:] == [ToolCalls(calls), Finished("tool_calls")]
        assert fake.requests[0]["tools"] == list(tools)
        mind = RemoteMind(client(fake.url))
        assert mind.load() is mind.client
        assert isinstance(mind, Mind)
        assert "".join(mind.stream(QUESTION)).startswith('one moment<tool_call>function\nsearch\n{"query"')


def test_messages_on_the_wire() -> None:
    call = ToolCallPart("search", {"q": "好"}, "c1")
    turns = [
        user("q"),
        assistant("wait", call),
        tool_result("3000", id="c1", instruction=" Be brief."),
        assistant(SpeechPart("好", (1, 2))),
        open_turn(),
    ]
    body = request_body("m", turns, ChatOptions(), dialect="step-audio-2")
    assert body["messages"] == [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": "wait",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "好"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "3000 Be brief."},
        {
            "role": "assistant",
            "tts_content": {"tts_text": "好", "tts_audio": "<audio_1><audio_2>"},
            "content": "",
        },
    ]
    plain = request_body("m", turns, ChatOptions())
    assert plain["messages"][-1] == {"role": "assistant", "content": "好"}
    with pytest.raises(InputError, match="raw token ids"):
        request_body("m", [assistant(TokenPart((1,)))], ChatOptions())


def test_sound_on_the_wire() -> None:
    minute = Audio(np.zeros(60 * 8_000, np.float32), 8_000)
    content = request_body("m", [user("what?", minute)], ChatOptions())["messages"][0]["content"]
    assert content[0] == {"type": "text", "text": "what?"}
    assert [item["type"] for item in content[1:]] == ["input_audio"] * 3
    seconds = []
    for item in content[1:]:
        assert item["input_audio"]["format"] == "wav"
        piece = Audio.read(base64.b64decode(item["input_audio"]["data"]))
        assert piece.sample_rate == 16_000
        seconds.append(piece.seconds)
    assert seconds == [25.0, 25.0, 10.0]

    def codes(_: Audio) -> str:
        return "<audio_5><audio_1030>"

    step = request_body("m", [user(minute)], ChatOptions(), dialect="step-audio", audio_text=codes)
    assert step["messages"] == [{"role": "user", "content": "<audio_5><audio_1030>"}]
    with pytest.raises(InputError, match="no tokenizer"):
        request_body("m", [user(minute)], ChatOptions(), dialect="step-audio")


@pytest.mark.parametrize(
    "failure",
    [
        Answer(status=429, error={"error": {"message": "slow down"}}),
        Answer(status=503, error="loading"),
        Answer(hang_up=True),
        Answer([{"choices": [{"delta": {"role": "assistant"}}]}], done=False),
    ],
)
def test_retries_before_the_first_token(failure: Answer) -> None:
    waits: list[float] = []
    with serve(failure, failure, HELLO) as fake:
        events = list(client(fake.url, waits).stream(QUESTION))
    assert said(events) == "Hello 你好"
    assert len(fake.requests) == 3
    assert waits == [0.5, 1.0]


def test_backoff_is_capped_jittered_and_heeds_retry_after() -> None:
    waits: list[float] = []
    with serve(Answer(status=429, error={}, headers={"Retry-After": "3"}), HELLO) as fake:
        list(client(fake.url, waits).stream(QUESTION))
    assert waits == [3.0]
    waits.clear()
    with serve(Answer(status=500, error={})) as fake:
        server = Server(fake.url, "step-audio-chat", retries=5, backoff=1.0, most_backoff=4.0)
        remote = OpenAIClient(server, sleep=waits.append, jitter=lambda: 0.0)
        with pytest.raises(RemoteError, match="answered 500"):
            list(remote.stream(QUESTION))
    assert waits == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert len(fake.requests) == 6


def test_no_retry_once_a_token_is_out_and_the_text_is_kept() -> None:
    with serve(Answer([text_chunk("half a "), text_chunk("sentence")], done=False)) as fake:
        got: list[Any] = []
        with pytest.raises(RemoteError, match="broke") as caught:
            got.extend(client(fake.url).stream(QUESTION))
    assert said(got) == "half a sentence"
    assert caught.value.partial_text == "half a sentence"
    assert len(fake.requests) == 1


def test_errors_inside_the_stream() -> None:
    broken = {"error": {"message": "out of\nmemory", "code": 500}}
    with (
        serve(Answer([text_chunk("a"), broken])) as fake,
        pytest.raises(RemoteError, match="out of memory") as caught,
    ):
        list(client(fake.url).stream(QUESTION))
    assert caught.value.partial_text == "a"
    for bad in (
        "{not json",
        '"text"',
        '{"choices": 3}',
        '{"choices": [4]}',
        '{"choices": [{"delta": {"content": 5}}]}',
    ):
        with serve(Answer([text_chunk("a"), bad])) as fake, pytest.raises(RemoteError, match="unreadable"):
            list(client(fake.url).stream(QUESTION))
    call = {
        "choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{"}}]}}]
    }
    with serve(Answer([call, end_chunk()])) as fake, pytest.raises(RemoteError, match="unreadable tool call"):
        list(client(fake.url).stream(QUESTION))


def test_a_stuck_server_times_out_without_a_second_try() -> None:
    # Long enough for what does come to come in time on a busy machine.
    patience = 3.0
    for before in ([text_chunk("a")], []):
        never = threading.Event()
        with serve(Answer([*before, never])) as fake:
            with pytest.raises(RemoteError, match=r"no answer for 3 s") as caught:
                list(client(fake.url, read_timeout=patience).stream(QUESTION))
            assert caught.value.partial_text == ("a" if before else "")
            assert len(fake.requests) == 1
            never.set()


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waits: list[float] = []
    with pytest.raises(
        RemoteError, match=r"cannot reach http://127\.0\.0\.1:\d+/v1: .*is the server running\?"
    ):
        list(client(f"http://127.0.0.1:{port}/v1", waits).stream(QUESTION))
    assert len(waits) == 4
    with pytest.raises(RemoteError, match="cannot reach"):
        client(f"http://127.0.0.1:{port}/v1").models()


def test_wrong_model_name() -> None:
    with serve(HELLO, models=("other",)) as fake:
        with pytest.raises(
            RemoteError, match=r"no model 'step-audio-chat' there.*it serves: other"
        ) as caught:
            list(client(fake.url).stream(QUESTION))
        assert client(fake.url).models() == ["other"]
        with pytest.raises(RemoteError, match="no model 'step-audio-chat' there; it serves: other"):
            RemoteMind(client(fake.url)).load()
    assert "\n" not in str(caught.value)
    assert len(fake.requests) == 1


def test_keys_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-very-secret-0123"
    monkeypatch.delenv("STEPAUDIO_API_KEY", raising=False)
    with serve(HELLO, key=secret) as fake:
        with pytest.raises(RemoteError, match="set STEPAUDIO_API_KEY"):
            list(client(fake.url).stream(QUESTION))
        assert "Authorization" not in fake.headers[0]
        monkeypatch.setenv("STEPAUDIO_API_KEY", secret)
        remote = client(fake.url)
        assert said(list(remote.stream(QUESTION))) == "Hello 你好"
        assert secret not in repr(remote.server) + repr(vars(remote))
        monkeypatch.setenv("STEPAUDIO_API_KEY", "sk-wrong-9876")
        with pytest.raises(RemoteError, match="refuses the key in STEPAUDIO_API_KEY") as caught:
            list(remote.stream(QUESTION))
        assert "sk-wrong" not in str(caught.value)
        with pytest.raises(RemoteError) as caught:
            remote.models()
        assert "sk-wrong" not in str(caught.value)
    monkeypatch.setenv("STEPAUDIO_API_KEY", secret)
    echo = Answer(status=400, error={"error": {"message": f"bad header Bearer {secret}"}})
    with serve(echo) as fake, pytest.raises(RemoteError, match=r"bad header Bearer \*\*\*"):
        list(client(fake.url).stream(QUESTION))


def test_addresses_are_checked() -> None:
    for bad in ("127.0.0.1:8000", "ftp://host/v1", "http://", ""):
        with pytest.raises(InputError, match="not a server address"):
            Server(bad, "m")
    with pytest.raises(InputError, match="password"):
        Server("http://me:secret@host/v1", "m")


def test_cancelled_before_and_between_tokens() -> None:
    with serve(Answer([text_chunk("a"), text_chunk("b"), text_chunk("c"), end_chunk()])) as fake:
        cancel = Cancel()
        stale = cancel.token()
        cancel.cancel()
        assert list(client(fake.url).stream(QUESTION, cancel=stale)) == []
        assert fake.requests == []
        stream = client(fake.url).stream(QUESTION, cancel=cancel.token())
        assert next(stream) == TextDelta("a")
        cancel.cancel()
        assert list(stream) == []


@pytest.mark.parametrize("before", [[], [text_chunk("a")]])
def test_cancel_wakes_a_waiting_read(before: list[Any]) -> None:
    """Whether the server is still thinking or has gone silent in the middle."""
    never = threading.Event()
    with serve(Answer([*before, never])) as fake:
        cancel = Cancel()
        stream = client(fake.url, read_timeout=60.0).stream(QUESTION, cancel=cancel.token())
        events = [next(stream) for _ in before]
        threading.Timer(0.2, cancel.cancel).start()
        events += stream
        assert not fake.gave_up.is_set()
        never.set()
    assert said(events) == ("a" if before else "")
    assert not any(isinstance(event, Finished) for event in events)
    assert not any(thread.name == "stepaudio-abort" for thread in threading.enumerate())


def test_cancel_ends_the_waiting_for_another_try() -> None:
    cancel = Cancel()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            cancel.cancel()

    with serve(Answer(status=503, error={})) as fake:
        server = Server(fake.url, "step-audio-chat", backoff=10.0)
        assert list(OpenAIClient(server, sleep=sleep).stream(QUESTION, cancel=cancel.token())) == []
    assert len(waits) == 3


def test_leaving_early_closes_the_connection() -> None:
    many = [text_chunk("x" * 1000) for _ in range(5000)]
    with serve(Answer(many)) as fake:
        stream = client(fake.url).stream(QUESTION)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert fake.closed_early.wait(10)


def test_many_at_once() -> None:
    with serve(Answer([text_chunk("a"), 0.05, text_chunk("b"), end_chunk()])) as fake:
        remote = client(fake.url)
        out: list[str] = []
        threads = [
            threading.Thread(target=lambda: out.append(said(list(remote.stream(QUESTION))))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert out == ["ab"] * 8


def test_open_turns_with_parts_are_refused() -> None:
    with pytest.raises(InputError, match="opened with text"):
        request_body("m", [Message("assistant", (TokenPart((1,)),), closed=False)], ChatOptions())
