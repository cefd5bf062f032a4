"""nano's speech language model: train on the teacher's clips, measure, speak. See README.md beside this file.

python tts/nano.py train   --data DATA/teacher --work WORK
python tts/nano.py measure --data DATA/teacher --work WORK --text SENTENCES.txt
"""

from pathlib import Path
from typing import Annotated

import typer

from stepaudio.training.loop import Plan

app = typer.Typer(add_completion=False, no_args_is_help=True)
Data = Annotated[Path, typer.Option(help="Folder of the teacher's clips.")]
Where = Annotated[Path, typer.Option(help="Work folder of tokenizers/nano.py.")]


@app.command()
def train(
    data: Data,
    work: Where = Path("runs/nano"),
    run: str = "speech",
    tokenizer: str = "tokenizer",
    steps: int = 4000,
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
        device=device,
    )
    print(speech_run.train_run(data, work, run, tokenizer, plan))


@app.command()
def measure(
    data: Data,
    text: Annotated[Path, typer.Option(help="Sentences, one a line.")],
    work: Where = Path("runs/nano"),
    run: str = "speech",
    tokenizer: str = "tokenizer",
    count: int = 20,
    temperature: float = 0.0,
) -> None:
    """Judge the teacher and the trained mouth on the same sentences."""
    from stepaudio.training import speech_run

    lines = [line.strip() for line in text.read_text("utf-8").splitlines() if line.strip()][:count]
    for line in speech_run.measure_run(data, work, run, tokenizer, lines, temperature):
        print(line, flush=True)


if __name__ == "__main__":
    app()
