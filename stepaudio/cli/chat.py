"""`stepaudio chat`: one spoken question answered, or a conversation at the microphone."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepaudio.cli.common import (
    HearingPath,
    Json,
    Model,
    Out,
    Seed,
    Server,
    StyleTags,
    VoiceName,
    check_out,
    emit,
    read_input,
    tell,
)
from stepaudio.errors import InputError

if TYPE_CHECKING:
    from stepaudio.results import Reply, ToolCall


def chat(
    question: Annotated[
        str | None, typer.Argument(help="A spoken question; - is stdin; without it the microphone is used.")
    ] = None,
    out: Out = None,
    system: Annotated[str | None, typer.Option("--system", help="Instructions to the model.")] = None,
    voice: VoiceName = None,
    style: StyleTags = None,
    tools: Annotated[
        str | None,
        typer.Option("--tools", help="Module or .py file whose functions the model may call."),
    ] = None,
    seed: Seed = None,
    model: Model = "nano",
    server: Server = None,
    path: HearingPath = None,
    json: Json = False,
) -> None:
    """Answer a spoken QUESTION aloud; the reply is written to reply.wav unless -o says otherwise."""
    from stepaudio.api import load
    from stepaudio.audio import Audio
    from stepaudio.dialogue.events import Done, Heard, TextDelta, ToolUsed
    from stepaudio.tools import load_tools

    if question is None and (out or json):
        raise InputError("-o and --json need a QUESTION file; without one the microphone is used")
    if json and out == "-":
        raise InputError("--json and -o - both want stdout")
    check_out(out)
    functions = load_tools(tools) if tools else ()
    sa = load(model, server=server, path=path)
    session = sa.chat(system=system, voice=voice, style=style, seed=seed, tools=functions)
    if question is None:
        from stepaudio.dialogue.microphone import converse

        converse(session, tell)
        return
    reply: Reply | None = None
    begun = False
    quiet = json or out == "-"
    spoken = Audio.read(read_input(question))
    started = time.perf_counter()
    # The timings tell what a caller of a running system hears; loading is told apart.
    sa.warm_up()
    load_s = time.perf_counter() - started
    for event in session.turn(spoken):
        if isinstance(event, Heard) and not quiet:
            # A model that hears the sound itself writes the question down after its reply.
            line = f"You:   {event.transcript.text}"
            typer.echo(f"\n{line}" if begun else line)
        elif isinstance(event, TextDelta) and not quiet:
            typer.echo(event.text if begun else f"Reply: {event.text}", nl=False)
            begun = True
        elif isinstance(event, ToolUsed) and not quiet:
            line = f"Tool:  {_told(event.call)}"
            typer.echo(f"\n{line}" if begun else line)
            begun = False
        elif isinstance(event, Done):
            reply = event.reply
    if reply is None or reply.audio is None:
        raise InputError("the model gave an answer that cannot be spoken; try another question")
    out = out or "reply.wav"
    if out == "-":
        sys.stdout.buffer.write(reply.audio.to_wav_bytes())
        return
    reply.audio.save(out)
    timings = {
        name: None if value is None else round(value, 3)
        for name, value in (
            ("load_s", load_s),
            ("transcribe_s", reply.timings.transcribe_s),
            ("first_text_s", reply.timings.first_text_s),
            ("first_audio_s", reply.timings.first_audio_s),
            ("total_s", reply.timings.total_s),
        )
    }
    if json:
        emit(
            {
                "transcript": reply.transcript,
                "reply": reply.text,
                "reply_audio": out,
                "tool_calls": [_as_json(call) for call in reply.tool_calls],
                "model": reply.model,
                "timings": timings,
            }
        )
        return
    spent = ", ".join(
        f"{name.removesuffix('_s').replace('_', ' ')} {value} s" for name, value in timings.items()
    )
    typer.echo(f"\nTimes: {spent}\nSound: {out} ({reply.audio.seconds:.1f} s)")


def _as_json(call: "ToolCall") -> dict[str, Any]:
    outcome = {"result": call.result} if call.error is None else {"error": call.error}
    return {"name": call.name, "arguments": call.arguments, **outcome}


def _told(call: "ToolCall") -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    return f"{call.name}({arguments}) -> {call.result if call.error is None else 'failed: ' + call.error}"
