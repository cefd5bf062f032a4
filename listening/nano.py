"""nano's ear: train, measure, export. See README.md beside this file; tokenizers/nano.py makes the features.

python listening/nano.py label   --data DATA --out LABELS.json SET       # recordings without transcripts
python listening/nano.py spell   --work WORK --labels LABELS.json
python listening/nano.py write   --work WORK --labels LABELS.json
python listening/nano.py export  --work WORK --out FOLDER
"""

import json
from collections.abc import Mapping
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
Shards = Annotated[list[str] | None, typer.Option("--shards", help="Patterns of shards; all by default.")]
LM = "smollm2-135m-instruct"


@app.command()
def label(
    name: Annotated[str, typer.Argument(help="Name of a folder with recordings.")],
    data: Annotated[Path, typer.Option(help="Folder of the data sets, each with manifest.jsonl.")],
    out: Annotated[Path, typer.Option(help="JSON file.")],
    longest: Annotated[float, typer.Option(help="Seconds of a recording that are used.")] = 16.0,
) -> None:
    """Have Whisper base write down recordings that nobody has; its errors become ours."""
    from stepaudio import hub
    from stepaudio.recognition import WhisperEars
    from stepaudio.training.corpus import read_start

    ears = WhisperEars(hub.folder("whisper-base"))
    texts = {}
    for line in (data / name / "manifest.jsonl").read_text("utf-8").splitlines():
        path = data / name / json.loads(line)["audio"]
        heard = ears.transcribe(read_start(path, longest))
        texts[path.stem] = " ".join(segment.text for segment in heard)
    out.write_text(json.dumps(texts, indent=0), "utf-8")


@app.command()
def spell(
    work: Where = Path("runs/nano"),
    run: str = "spelling",
    labels: Labels = None,
    shards: Shards = None,
    steps: int = 2500,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Stage 0: the adaptor learns to spell what it hears; goes on from the last checkpoint of the run."""
    plan = Plan(
        steps=steps,
        learning_rate=2e-3,
        warmup=200,
        weight_decay=0.05,
        evaluate_every=250,
        bf16=bf16,
        device=device,
    )
    _train(work, run, labels, shards, plan, threads, replies=False, start=None, batch=24)


@app.command()
def write(
    work: Where = Path("runs/nano"),
    run: str = "writing",
    start: str = "spelling",
    labels: Labels = None,
    shards: Shards = None,
    steps: int = 2000,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Stage 1: the language model learns, with an adapter, to write down what the adaptor tells it."""
    plan = Plan(
        steps=steps,
        learning_rate=8e-4,
        weight_decay=0.02,
        average=0.99,
        evaluate_every=150,
        bf16=bf16,
        device=device,
    )
    _train(work, run, labels, shards, plan, threads, replies=True, start=start, batch=8)


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


def _train(
    work: Path,
    run: str,
    labels: Path | None,
    shards: list[str] | None,
    plan: Plan,
    threads: int,
    *,
    replies: bool,
    start: str | None,
    batch: int,
) -> None:
    import torch

    from stepaudio.training import listening_run

    torch.set_num_threads(threads)
    texts: Mapping[str, str] = json.loads(labels.read_text("utf-8")) if labels else {}
    tokenizer, lm = _language_model()
    spoken, kept = listening_run.read_spoken(work, shards or ["*"], tokenizer, texts)
    print(f"{len(spoken)} clips to learn from, {len(kept)} held out")
    done = listening_run.train_run(
        work, run, spoken, kept, lm, plan, replies=replies, start=start, batch=batch
    )
    print(done)


def _language_model() -> "tuple[TextTokenizer, DecoderLM]":
    import torch

    from stepaudio import hub
    from stepaudio.lm.text import load_text_tokenizer
    from stepaudio.lm.weights import load_lm

    folder = hub.folder(LM)
    return load_text_tokenizer(folder), load_lm(folder, dtype=torch.bfloat16)


if __name__ == "__main__":
    app()
