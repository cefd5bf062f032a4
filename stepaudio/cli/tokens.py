"""`stepaudio tokens`: sound to speech codes and back."""

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

import typer

from stepaudio.cli.common import (
    Json,
    Model,
    Out,
    Seed,
    VoiceName,
    Watermarked,
    check_out,
    check_place,
    emit,
    read_input,
    tell,
)
from stepaudio.errors import InputError

app = typer.Typer(help="Sound to speech codes and back.", no_args_is_help=True)
_MOST_BYTES = 256 << 20  # hours of codes; a bigger file is something else


@app.callback()
def _group() -> None:
    """Sound to speech codes and back."""


@app.command("encode")
def encode(
    clip: Annotated[str, typer.Argument(help="Audio file; - is stdin.")],
    out: Annotated[str | None, typer.Option("-o", "--out", help="JSON file; stdout without it.")] = None,
    model: Model = "nano",
) -> None:
    """Write the codes of CLIP as JSON."""
    from stepaudio.api import load

    path = check_place(out) if out and out != "-" else None
    codes = load(model).tokenize(read_input(clip)).to_json()
    if path is None:
        emit(codes)
        return
    path.write_text(json_format.dumps(codes), encoding="utf-8")
    tell(f"{out}: codes of {codes['seconds']:.2f} s")


@app.command("decode")
def decode(
    codes: Annotated[str, typer.Argument(help="JSON file of codes; - is stdin.")],
    out: Out = None,
    voice: VoiceName = None,
    seed: Seed = None,
    watermark: Watermarked = None,
    model: Model = "nano",
    json: Json = False,
) -> None:
    """Turn CODES into sound; without -o it is written to decoded.wav."""
    from stepaudio.api import load

    if json and out == "-":
        raise InputError("--json and -o - both want stdout")
    out = out or "decoded.wav"
    check_out(out)
    data = _read(codes)
    sa = load(model)
    audio = sa.detokenize(sa.codec.read(data), voice=voice, seed=seed, watermark=watermark)
    if out == "-":
        sys.stdout.buffer.write(audio.to_wav_bytes())
        return
    audio.save(out)
    if json:
        emit({"audio": out, "seconds": round(audio.seconds, 3), "sample_rate": audio.sample_rate})
        return
    tell(f"{out}: {audio.seconds:.2f} s of sound")


def _read(name: str) -> object:
    source = read_input(name)
    try:
        if isinstance(source, str):
            if Path(source).stat().st_size > _MOST_BYTES:
                raise InputError(f"{name}: too large to be codes")
            source = Path(source).read_bytes()
        return json_format.loads(source)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{name}: not JSON") from None
