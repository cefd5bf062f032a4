"""nano's ear for how something is said: hear, train, export. See README.md beside this file.

python listening/nano.py hear   --data DATA --work WORK SET ...
python listening/nano.py act    --work WORK --texts TEXT
python listening/nano.py sort   --work WORK SET ...
python listening/nano.py export --work WORK --out FOLDER
"""

from pathlib import Path
from typing import Annotated

import typer

from stepaudio.training.loop import Plan

app = typer.Typer(add_completion=False, no_args_is_help=True)
Data = Annotated[Path, typer.Option(help="Folder of the data sets, each with manifest.jsonl.")]
Where = Annotated[Path, typer.Option(help="Work folder: what was heard, checkpoints, logs.")]
Sets = Annotated[list[str], typer.Argument(help="Names of folders with recordings or takes.")]
EAR = "whisper-tiny.en"
HELD_OUT = 20
"""One in so many is not learned from."""


@app.command()
def hear(
    sets: Sets,
    data: Data,
    work: Where = Path("runs/nano"),
    shards: Annotated[int, typer.Option(help="Most shards of each variant of a set.")] = 1000,
    threads: int = 1,
) -> None:
    """Hear recordings as they are, in other manners, and disturbed; goes on where it was stopped."""
    import torch

    from stepaudio import hub
    from stepaudio.features.heard import Hearing
    from stepaudio.training import heard

    torch.set_num_threads(threads)
    hearing = Hearing(hub.folder(EAR), threads)
    for variant in heard.VARIANTS:
        for name in sets:
            for path in heard.hear(data / name, work / "heard", hearing, variant, shards):
                print(path.name, flush=True)


@app.command()
def act(
    texts: Annotated[list[Path], typer.Option(help="Files with sentences.")],
    work: Where = Path("runs/nano"),
    count: Annotated[int, typer.Option(help="Takes in all.")] = 500,
    threads: int = 1,
) -> None:
    """Have the teacher say sentences in every manner, and hear them: the set "acted"; goes on by shards."""
    import torch

    from stepaudio import hub
    from stepaudio.api import load
    from stepaudio.features.heard import Hearing
    from stepaudio.training.acted import hear_acted

    torch.set_num_threads(threads)
    said = [line for path in texts for line in path.read_text("utf-8").splitlines() if line.strip()]
    hearing = Hearing(hub.folder(EAR), threads)
    for path in hear_acted(load("nano-kokoro"), said, work / "heard", hearing, count):
        print(path.name, flush=True)


@app.command()
def sort(
    sets: Sets,
    work: Where = Path("runs/nano"),
    steps: int = 1500,
    threads: int = 1,
    device: str = "cpu",
) -> None:
    """Train the adaptor: how something is said, in words; goes on where it was stopped."""
    import torch

    from stepaudio.training import heard, manner
    from stepaudio.training.clips import held_out

    torch.set_num_threads(threads)
    recordings = list(heard.read(work / "heard", sets))
    kept = [each for each in recordings if held_out(each, HELD_OUT)]
    said = [each for each in recordings if not held_out(each, HELD_OUT)]
    print(f"{len(said)} recordings to learn from, {len(kept)} held out")
    plan = Plan(
        steps=steps,
        learning_rate=1e-3,
        warmup=20,
        weight_decay=0.1,
        average=0.98,
        every=100,
        keep="last",
        device=device,
    )
    print(manner.train_run(work, "sort", said, kept, plan))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder for the adaptor.")],
    work: Where = Path("runs/nano"),
) -> None:
    """Write the trained ear as nano reads it."""
    from stepaudio.lm.adaptor import save_adaptor
    from stepaudio.lm.hearing import ADAPTOR
    from stepaudio.training.manner import load_run

    out.mkdir(parents=True, exist_ok=True)
    save_adaptor(load_run(work, "sort"), out / ADAPTOR)


if __name__ == "__main__":
    app()
