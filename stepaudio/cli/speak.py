"""`stepaudio speak`: text to speech."""

import sys
import time
from typing import Annotated

import typer

from stepaudio.cli.common import (
    Json,
    Model,
    Out,
    Seed,
    StyleTags,
    VoiceName,
    Watermarked,
    check_out,
    emit,
    tell,
)
from stepaudio.errors import InputError


def speak(
    text: Annotated[str, typer.Argument(help="What to say; - reads it from stdin.")],
    out: Out = None,
    voice: VoiceName = None,
    style: StyleTags = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write raw 16-bit mono PCM to stdout as it is made.")
    ] = False,
    seed: Seed = None,
    watermark: Watermarked = None,
    model: Model = "nano",
    json: Json = False,
) -> None:
    """Say TEXT. Without -o the speech is written to speech.wav."""
    from stepaudio.api import load
    from stepaudio.audio import concat
    from stepaudio.audio.writing import to_int16

    if stream and (out or json):
        raise InputError("--stream writes PCM to stdout; it does not go together with -o or --json")
    if json and out == "-":
        raise InputError("--json and -o - both want stdout")
    out = out or "speech.wav"
    check_out(out)
    said = sys.stdin.read() if text == "-" else text
    sa = load(model)
    speaker = sa.voice(voice)
    mark = sa.watermark(speaker, watermark)
    sa.family.mouth.load()  # reading the weights is not part of the speed of speaking
    if mark is not None:
        mark.load()
    started = time.perf_counter()
    first: float | None = None
    chunks = []
    for chunk in sa.stream(said, voice=speaker, style=style, seed=seed, watermark=mark is not None):
        first = first or time.perf_counter() - started
        if stream:
            sys.stdout.buffer.write(to_int16(chunk.samples).tobytes())
            sys.stdout.buffer.flush()
        else:
            chunks.append(chunk)
    if stream:
        tell(f"mono 16-bit PCM at {sa.family.mouth.sample_rate} Hz")
        return
    total = time.perf_counter() - started
    audio = concat(chunks)
    if out == "-":
        sys.stdout.buffer.write(audio.to_wav_bytes())
        return
    audio.save(out)
    if json:
        emit(
            {
                "audio": out,
                "seconds": round(audio.seconds, 3),
                "first_audio_s": round(first or total, 3),
                "total_s": round(total, 3),
                "rtf": round(total / audio.seconds, 4),
                "voice": voice or sa.family.mouth.default_voice,
                "style": style or "",
                "sample_rate": audio.sample_rate,
                "watermark": None if mark is None else mark.name,
            }
        )
    else:
        rtf = total / audio.seconds
        tell(f"{out}: {audio.seconds:.1f} s of speech, first sound after {first:.2f} s, RTF {rtf:.2f}")
