"""nano's tokenizer and frame decoder: prepare the data, train, measure. See README.md beside this file.

python tokenizers/nano.py prepare --data DATA --work WORK [SET ...]
python tokenizers/nano.py train   --work WORK [SET ...]
python tokenizers/nano.py measure --data DATA --work WORK [SET ...]
"""

from pathlib import Path
from typing import Annotated

import typer

from stepaudio.training.loop import Plan

app = typer.Typer(add_completion=False, no_args_is_help=True)
Sets = Annotated[list[str], typer.Argument(help="Names of the sets' folders.")]
Data = Annotated[Path, typer.Option(help="Folder of the data sets.")]
Where = Annotated[Path, typer.Option(help="Work folder: features, checkpoints, logs.")]
TEACHER = "teacher"


@app.command()
def prepare(sets: Sets, data: Data, work: Where = Path("runs/nano")) -> None:
    """Extract features, speaker embeddings and the teacher's timing; goes on where it was stopped."""
    import json

    from stepaudio import hub
    from stepaudio.training.align import TeacherTiming
    from stepaudio.training.extract import WhisperFeatures
    from stepaudio.training.prepare import Work, prepare_features, prepare_speakers, prepare_timing

    place = Work(work)
    encoder = WhisperFeatures(hub.folder("whisper-tiny.en"))
    for name in sets:
        for count, _ in enumerate(prepare_features(data / name, place, encoder), 1):
            if count % 100 == 0:
                print(name, count, flush=True)
        prepare_speakers(data / name, place, hub.folder("speaker-ge2e"))
        if name == TEACHER:
            teacher = hub.folder("kokoro-82m")
            timing = TeacherTiming(teacher / "model.onnx")
            vocab = json.loads((teacher / "vocab.json").read_text("utf-8"))["vocab"]
            aligned = prepare_timing(data / name, place, timing, vocab, hub.folder("kokoro-voices"))
            print("aligned {} of {} clips".format(*aligned))


@app.command()
def train(
    sets: Sets,
    work: Where = Path("runs/nano"),
    run: str = "tokenizer",
    codes_of: Annotated[str, typer.Option(help="A run whose codes to keep: trains the decoder only.")] = "",
    steps: int = 1600,
    minutes: float = 1e9,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Learn codes and decoder together, or the decoder alone; goes on from the last checkpoint of the run."""
    import torch

    from stepaudio.training import autoencoder_run

    torch.set_num_threads(threads)
    plan = Plan(
        steps=steps, learning_rate=1.5e-3, minutes=minutes, evaluate_every=100, bf16=bf16, device=device
    )
    print(autoencoder_run.train_run(work, run, sets, plan, codes_of or None))


@app.command()
def measure(
    sets: Sets, data: Data, work: Where = Path("runs/nano"), run: str = "tokenizer", clips: int = 12
) -> None:
    """Judge recordings, their WORLD copies and their resynthesis from codes."""
    from stepaudio.training import autoencoder_run

    for line in autoencoder_run.measure_run(data, work, run, sets, clips):
        print(line, flush=True)


if __name__ == "__main__":
    app()
