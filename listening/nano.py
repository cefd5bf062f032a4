"""nano's ear: train, export. See README.md beside this file; tts/engine.py makes takes to learn from.

python listening/nano.py label   --data DATA --out LABELS.json SET       # recordings without transcripts
python listening/nano.py learn   --data DATA --work WORK --labels LABELS.json SET ...
python listening/nano.py export  --work WORK --out FOLDER
python listening/nano.py lexicon --out FOLDER TEXT ...                   # the words it may write down
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepaudio.training.loop import Plan

if TYPE_CHECKING:
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.text import TextTokenizer

app = typer.Typer(add_completion=False, no_args_is_help=True)
Where = Annotated[Path, typer.Option(help="Work folder: features, checkpoints, logs.")]
Labels = Annotated[Path | None, typer.Option(help="Transcripts of recordings that have none, by key.")]
LM = "smollm2-135m-instruct"


@app.command()
def label(
    name: Annotated[str, typer.Argument(help="Name of a folder with recordings.")],
    data: Annotated[Path, typer.Option(help="Folder of the data sets, each with manifest.jsonl.")],
    out: Annotated[Path, typer.Option(help="JSON file.")],
) -> None:
    """Have Whisper base write down recordings that nobody has; its errors become ours."""
    from stepaudio import hub
    from stepaudio.recognition import WhisperEars
    from stepaudio.training.corpus import read_start
    from stepaudio.training.listening_run import LONGEST_S

    ears = WhisperEars(hub.folder("whisper-base"))
    texts = {}
    for line in (data / name / "manifest.jsonl").read_text("utf-8").splitlines():
        path = data / name / json.loads(line)["audio"]
        heard = ears.transcribe(read_start(path, LONGEST_S))
        texts[path.stem] = " ".join(segment.text for segment in heard)
    out.write_text(json.dumps(texts, indent=0), "utf-8")


@app.command()
def learn(
    data: Annotated[Path, typer.Option(help="Folder of the data sets, each with manifest.jsonl.")],
    sets: Annotated[list[str], typer.Argument(help="Names of folders with recordings or takes.")],
    work: Where = Path("runs/nano"),
    labels: Labels = None,
    spell_steps: int = 2500,
    write_steps: int = 4000,
    batch: int = 16,
    rank: int = 32,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Learn to spell (stage 0), then to write, to answer and to tell how; goes on where it was stopped."""
    import torch

    from stepaudio import hub
    from stepaudio.features.whisper_weights import load_encoder
    from stepaudio.training import listening_run
    from stepaudio.training.disturb import make_music
    from stepaudio.training.lessons import Teaching
    from stepaudio.training.listening import Front

    torch.set_num_threads(threads)
    texts: Mapping[str, str] = json.loads(labels.read_text("utf-8")) if labels else {}
    tokenizer, lm = _language_model(device)
    found = [each for name in sets for each in listening_run.read_recordings(data / name, texts)]
    kept, recordings = listening_run.split(found)
    print(f"{len(recordings)} recordings to learn from, {len(kept)} held out")
    encoder = load_encoder(hub.folder("whisper-tiny.en")).to(device)
    front = Front(encoder, make_music(48, 30.0).to(device), device)
    plan = Plan(
        steps=spell_steps,
        learning_rate=2.5e-3,
        warmup=150,
        weight_decay=0.05,
        bf16=bf16,
        keep="last",
        device=device,
    )
    course = listening_run.Course(recordings, size=batch)
    print(listening_run.train_run(work, "spelling", course, kept, lm, plan, front, rank=rank))
    recordings, kept = (listening_run.with_answers(part, lm, tokenizer, batch) for part in (recordings, kept))
    plan = replace(plan, steps=write_steps, learning_rate=8e-4, warmup=100, weight_decay=0.02)
    course = listening_run.Course(recordings, Teaching(tokenizer, listening_run.opening()), size=batch)
    print(
        listening_run.train_run(work, "writing", course, kept, lm, plan, front, start="spelling", rank=rank)
    )


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder for adaptor and adapter.")],
    work: Where = Path("runs/nano"),
    run: str = "writing",
) -> None:
    """Write the trained ear as nano reads it."""
    from stepaudio.lm.adaptor import save_adaptor
    from stepaudio.lm.hearing import ADAPTER, ADAPTOR
    from stepaudio.training.listening_run import load_ear

    _, lm = _language_model()
    ear = load_ear(work, run, lm)
    out.mkdir(parents=True, exist_ok=True)
    save_adaptor(ear.adaptor, out / ADAPTOR)
    ear.adapter.save(out / ADAPTER)


@app.command()
def lexicon(
    texts: Annotated[list[Path], typer.Argument(help="Files with sentences.")],
    out: Annotated[Path, typer.Option(help="Folder of the ear.")],
) -> None:
    """Write the words of texts, and those that the language model has a token for, with their letters."""
    from stepaudio import hub
    from stepaudio.lm.hearing import LEXICON
    from stepaudio.lm.lexicon import words_of, write_lexicon
    from stepaudio.lm.text import load_text_tokenizer

    tokenizer = load_text_tokenizer(hub.folder(LM))
    tokens = (tokenizer.decode([token]) for token in range(tokenizer.vocab_size))
    whole = (token[1:] for token in tokens if token[:1] == " " and token[1:].isalpha() and token.isascii())
    words = words_of([*(path.read_text("utf-8") for path in texts), " ".join(whole)])
    write_lexicon({word: word for word in words}, out / LEXICON)


def _language_model(device: str = "cpu") -> "tuple[TextTokenizer, DecoderLM]":
    import torch

    from stepaudio import hub
    from stepaudio.lm.text import load_text_tokenizer
    from stepaudio.lm.weights import load_lm

    folder = hub.folder(LM)
    return load_text_tokenizer(folder), load_lm(folder, dtype=torch.bfloat16, device=device)


if __name__ == "__main__":
    app()
