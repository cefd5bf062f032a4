"""`stepaudio`: the commands put together, and errors turned into one line and an exit code."""

import sys
from typing import Annotated

import typer

from stepaudio.cli import bench, chat, clone, convert, demo, models, speak, tokens, transcribe, voices
from stepaudio.cli import eval as evaluate
from stepaudio.errors import StepAudioError

app = typer.Typer(
    name="stepaudio",
    help="Speech in, speech out: hear, think and speak on any CPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("chat")(chat.chat)
app.command("transcribe")(transcribe.transcribe)
app.command("speak")(speak.speak)
app.command("clone")(clone.clone)
app.add_typer(tokens.app, name="tokens")
app.add_typer(voices.app, name="voices")
models.app.command("convert")(convert.convert)
app.add_typer(models.app, name="models")
app.add_typer(evaluate.app, name="eval")
app.command("bench")(bench.bench)
app.command("demo")(demo.demo)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"stepaudio {version('stepaudio')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Speech in, speech out: hear, think and speak on any CPU."""


def main() -> None:
    """Run the command line; a known error is one line on stderr and exit code 2."""
    try:
        app()
    except StepAudioError as error:
        print(f"stepaudio: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away: nothing is left to say to it
        sys.exit(0)


if __name__ == "__main__":
    main()
