"""`stepaudio voices`: the voices that can speak."""

import typer

from stepaudio.cli.common import Json, emit

app = typer.Typer(help="The voices that can speak.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The voices that can speak."""


@app.command("list")
def list_(json: Json = False) -> None:
    """List the voices by name."""
    from stepaudio.voices import list_voices

    voices = list_voices()
    if json:
        emit(
            [
                {"name": v.name, "language": v.language, "gender": v.gender, "licence": v.licence}
                for v in voices
            ]
        )
        return
    for v in voices:
        typer.echo(f"{v.name:10} {v.language:6} {v.gender:8} {v.licence}")
