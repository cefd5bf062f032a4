"""nano's speech language model: train, and put all of nano's speech together. See README.md beside this file.

python tts/nano.py train  --work WORK
python tts/nano.py export --work WORK --out FOLDER
"""

from pathlib import Path
from typing import Annotated

import typer

from stepaudio.training.loop import Plan

app = typer.Typer(add_completion=False, no_args_is_help=True)
Where = Annotated[Path, typer.Option(help="Work folder of tokenizers/nano.py.")]
Shards = Annotated[list[str] | None, typer.Option("--shards", help="Patterns of shards; all by default.")]


@app.command()
def train(
    work: Where = Path("runs/nano"),
    run: str = "speech",
    tokenizer: str = "tokenizer",
    shards: Shards = None,
    steps: int = 5000,
    start: Annotated[str, typer.Option(help="A run to learn further from, on more data.")] = "",
    minutes: float = 1e9,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Learn phonemes to codes; goes on from the last checkpoint of the run."""
    import torch

    from stepaudio.training import speech_run

    torch.set_num_threads(threads)
    plan = Plan(
        steps=steps,
        learning_rate=1e-3,
        warmup=200,
        weight_decay=0.05,
        minutes=minutes,
        evaluate_every=200,
        bf16=bf16,
        keep="last",
        device=device,
    )
    print(speech_run.train_run(work, run, tokenizer, shards or ["*"], plan, start or None))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder for the models; voices/ in it for the voices.")],
    work: Where = Path("runs/nano"),
    tokenizer: str = "tokenizer",
    flow: str = "flow",
    run: str = "speech",
    shards: Shards = None,
) -> None:
    """Write the trained models, and the voices of the shipped speakers, as nano reads them."""
    import json

    from stepaudio import hub
    from stepaudio.training.export import bundle, shipped_voices
    from stepaudio.training.work import Work
    from stepaudio.voices import list_voices

    vocab = json.loads((hub.folder("kokoro-82m") / "vocab.json").read_text("utf-8"))["vocab"]
    models = bundle(work, tokenizer, flow, run, vocab)
    models.save(out)
    (out / "voices").mkdir(exist_ok=True)
    for voice in shipped_voices(models, Work(work).clips(shards or ["*"]), list_voices("kokoro")):
        voice.save(out / "voices" / f"{voice.name}.safetensors")
        print(voice.name, flush=True)


if __name__ == "__main__":
    app()
