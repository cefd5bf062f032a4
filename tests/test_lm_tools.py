"""How nano calls tools: bound schemas, grammars, telling; and the whole way with the real weights."""

import json
from pathlib import Path

import pytest
from sizes import size

from stepaudio.evaluation.metrics.tools import tool_scores
from stepaudio.lm.prompts.messages import ToolCallPart, assistant, tool_result, user
from stepaudio.lm.tools.arguments import about_tool, bound_schema, quotes
from stepaudio.lm.tools.telling import tell
from stepaudio.tools import Toolbox, load_tools

EVAL = Path(__file__).resolve().parent.parent / "evals" / "tool_calls"


@pytest.fixture(scope="module")
def box() -> Toolbox:
    return Toolbox(load_tools(str(EVAL / "tools.py")))


def bound(box: Toolbox, name: str, request: str) -> dict:
    function = box.find(name).schema["function"]
    return bound_schema(function["parameters"], request, about_tool(function))


def test_text_is_quoted_from_the_request():
    assert quotes("How are you?") == ["How", "How are", "How are you", "are", "are you", "you"]


def test_optional_arguments_need_a_word_for_them(box):
    assert bound(box, "get_date_time", "What time is it?")["properties"] == {}
    found = bound(box, "get_weather", "How is the weather in New York tomorrow?")["properties"]
    assert found["location"] == {"enum": ["New", "New York", "York"]}
    assert found["day"]["enum"] == ["tomorrow"]
    query = bound(box, "web_search", "Find me shoes")["properties"]["query"]
    assert "Find me shoes" in query["enum"]


def test_arguments_named_like_keywords_stay():
    schema = {
        "type": "object",
        "properties": {"default": {"type": "integer"}, "description": {"type": "number"}},
    }
    assert set(bound_schema(schema, "x")["properties"]) == {"default", "description"}


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("It is half past three.", None, "It is half past three."),
        ("18", None, "The answer from get weather is 18."),
        ('{"temp_c": 18, "sky": "clear", "wind": null}', None, "Temp c: 18, sky: clear."),
        ("", None, "There was no result from get weather."),
        ("x", "it did not answer within 10 seconds", None),
    ],
)
def test_results_are_told_as_they_are(text, error, said):
    told = tell("get_weather", text, error)
    if error:
        assert told == "Sorry, I could not use get weather: It did not answer within 10 seconds."
    else:
        assert told == said


@pytest.mark.slow
@pytest.mark.e2e
def test_nano_calls_the_right_tools(nano, box):
    user_of_tools = nano.family.mind.tool_user
    rows = [json.loads(line) for line in (EVAL / "requests.jsonl").read_text().splitlines()]
    sums: dict[str, list[float]] = {}
    for row in [row for row in rows if row["split"] == "test"][:: size(32, 4)]:
        call = user_of_tools.call(row["text"], box.schemas)
        scores = tool_scores([row["target"]], row["positive"], [call.name] if call else [])
        for name, (value, _) in scores.items():
            sums.setdefault(name, []).append(value)
        if call is not None:
            box.find(call.name).check(call.arguments)
    means = {name: sum(values) / len(values) for name, values in sums.items()}
    print(means)
    assert means["trigger_precision"] >= 0.8
    assert means["trigger_recall"] >= 0.8


@pytest.mark.slow
@pytest.mark.e2e
def test_nano_answers_with_a_tool_and_without(nano):
    def get_weather(location: str | None = None) -> str:
        """Return the weather of a place.

        Args:
            location: City.

        Examples:
            What's the weather like in Rome?
            Will it rain tomorrow?
        """
        if location == "Paris":
            return "In Paris it is sunny with twenty degrees."
        raise OSError("the service is down")

    chat = nano.chat(tools=[get_weather])
    reply = chat.send(text="What is the weather like in Paris?")
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [
        ("get_weather", {"location": "Paris"})
    ]
    assert reply.text == "In Paris it is sunny with twenty degrees."
    assert reply.audio is not None
    assert chat.send(text="Who painted the Mona Lisa?").tool_calls == ()
    failed = chat.send(text="What's the weather like in London?")
    assert failed.tool_calls[0].error == "the service is down"
    assert failed.text == "Sorry, I could not use get weather: The service is down."


@pytest.mark.slow
@pytest.mark.e2e
def test_a_result_in_the_history_does_not_stop_nano(nano):
    said = [
        user("Weather?"),
        assistant(ToolCallPart("w")),
        tool_result("Fine.", name="w"),
        assistant("Fine."),
    ]
    words = nano.family.mind.stream_with_tools([*said, user("What is seven plus two?")], tools=())
    assert "nine" in "".join(map(str, words)).lower()


@pytest.mark.slow
@pytest.mark.e2e
def test_the_cli_takes_a_module(nano, nano_cli, tmp_path):
    nano.speak("What time is it in Tokyo?", voice="ben").save(tmp_path / "q.wav")
    code, out, err = nano_cli(tmp_path)(
        "chat", "q.wav", "-o", "a.wav", "--json", "--tools", EVAL / "tools.py"
    )
    assert code == 0, err
    (call,) = json.loads(out)["tool_calls"]
    assert call["name"] == "get_date_time"
    assert call["arguments"] == {"timezone": "Tokyo"}
    assert call["result"].startswith("It is Tuesday")
