"""nano's tokenizer and decoder: train, measure. See README.md beside this file; tts/engine.py makes the data.

python tokenizers/nano.py features --data DATA --work WORK SET ...
python tokenizers/nano.py train    --work WORK
python tokenizers/nano.py adapt    --work WORK
python tokenizers/nano.py flow     --work WORK --tokenizer adapt --spoken tokenizer
python tokenizers/nano.py measure  --data DATA --work WORK SET ...
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepaudio.training.loop import Plan

if TYPE_CHECKING:
    from stepaudio.training.tokenizer import Streams

app = typer.Typer(add_completion=False, no_args_is_help=True)
Shards = Annotated[list[str] | None, typer.Option("--shards", help="Patterns of shards; all by default.")]
Data = Annotated[Path, typer.Option(help="Folder of the data sets, each with manifest.jsonl.")]
Where = Annotated[Path, typer.Option(help="Work folder: features, checkpoints, logs.")]
Run = Annotated[str, typer.Option(help="Name of the tokenizer's run.")]
Spoken = Annotated[str, typer.Option(help="The run whose codes the language model writes, if another.")]
Perceived = Annotated[
    str,
    typer.Option(help="Run of a phoneme classifier; it and a frozen Whisper encoder hear what is decoded."),
]
Seen = Annotated[
    str, typer.Option(help="What is decoded: both, or linguistic or semantic alone, an ablation.")
]


@app.command()
def features(
    sets: Annotated[list[str], typer.Argument(help="Names of folders with recordings.")],
    data: Data,
    work: Where = Path("runs/nano"),
    longest: Annotated[float, typer.Option(help="Seconds of a recording that are used.")] = 30.0,
) -> None:
    """Extract the features of recordings of people; goes on where it was stopped."""
    from stepaudio.training.corpus import extract_set

    for name in sets:
        for done in extract_set(data / name, work / "features", longest):
            print(done, flush=True)


@app.command()
def spell(
    sets: Annotated[list[str], typer.Argument(help="Names of folders with recordings.")],
    data: Data,
    work: Where = Path("runs/nano"),
) -> None:
    """Write down the phonemes of recordings of people, of their texts or by ear."""
    from stepaudio.training.spelling import spell_set

    for name in sets:
        for done in spell_set(data / name, work / "features"):
            print(done, flush=True)


@app.command()
def vary(
    sets: Annotated[list[str], typer.Argument(help="Names of folders with recordings.")],
    data: Data,
    work: Where = Path("runs/nano"),
) -> None:
    """Make variants of prepared recordings of people: faster, slower, disturbed."""
    from stepaudio.training.variants import vary_set

    for name in sets:
        for done in vary_set(data / name, work / "features"):
            print(done, flush=True)


@app.command()
def train(
    work: Where = Path("runs/nano"),
    run: Run = "tokenizer",
    shards: Shards = None,
    steps: int = 4200,
    streams: Seen = "both",
    start: Annotated[str, typer.Option(help="A run to start from.")] = "",
    labels: Annotated[
        str, typer.Option(help="Run of a phoneme classifier (`label`) for recordings of people.")
    ] = "",
    people: Annotated[float | None, typer.Option(help="Share of people's speech.")] = None,
    perceived: Perceived = "",
    batch: int | None = None,
    loaders: Annotated[int, typer.Option(help="Processes that draw batches ahead, for a GPU.")] = 0,
    minutes: float = 1e9,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Learn codes and regressor together; goes on from the last checkpoint of the run."""
    import torch

    from stepaudio.training import autoencoder_run

    torch.set_num_threads(threads)
    plan = Plan(
        steps=steps,
        learning_rate=1.5e-3,
        weight_decay=0.02,
        minutes=minutes,
        evaluate_every=200,
        bf16=bf16,
        keep="last",
        device=device,
        batch=batch,
        loaders=loaders,
    )
    done = autoencoder_run.train_run(
        work,
        run,
        shards or ["*"],
        plan,
        _streams(streams),
        start=start or None,
        phonemes=labels or None,
        people=people,
        perceived=perceived or None,
    )
    print(done)


@app.command()
def label(
    work: Where = Path("runs/nano"),
    run: str = "labels",
    shards: Shards = None,
    taught_by: Annotated[
        str, typer.Option(help="A run whose labels of spelled recordings of people are learned too.")
    ] = "",
    steps: int = 900,
    batch: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Learn a phoneme classifier on the teacher's speech, which labels recordings of people."""
    import torch

    from stepaudio.training import phonemes

    torch.set_num_threads(threads)
    plan = _labelling(steps, batch, device, bf16)
    print(phonemes.train_run(work, run, shards or ["*"], plan, taught_by or None))


@app.command()
def unpack(work: Where = Path("runs/nano"), run: str = "published") -> None:
    """Write the published models as runs to start from: RUN-codec, RUN-flow and RUN-speech."""
    from stepaudio import hub
    from stepaudio.families.nano_speech import NanoSpeech
    from stepaudio.training.export import unbundle

    unbundle(NanoSpeech.load(hub.folder("nano-speech")), work, run)


@app.command()
def adapt(
    work: Where = Path("runs/nano"),
    run: str = "adapt",
    tokenizer: Run = "tokenizer",
    shards: Shards = None,
    labels: Annotated[
        str, typer.Option(help="Run of a phoneme classifier (`label`); without, one is learned first.")
    ] = "",
    steps: int = 1500,
    spoken: Spoken = "",
    heads_first: Annotated[
        int, typer.Option(help="Steps in which only what is not published learns, after `unpack`.")
    ] = 0,
    perceived: Perceived = "",
    minutes: float = 1e9,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Learn a phoneme classifier, then teach the tokenizer people's speech; the teacher's codes are kept."""
    import torch

    from stepaudio.training import autoencoder_run, phonemes

    torch.set_num_threads(threads)
    patterns = shards or ["*"]
    if not labels:
        labels = f"{run}-phonemes"
        print(phonemes.train_run(work, labels, patterns, _labelling(900, None, device, bf16)))
    plan = Plan(
        steps=steps,
        learning_rate=7e-4,
        warmup=50,
        weight_decay=0.03,
        average=0.99,
        minutes=minutes,
        evaluate_every=150,
        bf16=bf16,
        keep="last",
        device=device,
    )
    print(
        autoencoder_run.adapt_run(
            work,
            run,
            tokenizer,
            patterns,
            plan,
            labels,
            heads_first,
            spoken or None,
            perceived or None,
        )
    )


@app.command()
def average(
    runs: Annotated[list[str], typer.Argument(help="Runs, of which one began where another ended.")],
    work: Where = Path("runs/nano"),
    run: str = "average",
) -> None:
    """Take the mean of the weights of runs, which errs less than each of them."""
    from stepaudio.training.work import Work

    Work(work).average(runs, run)


@app.command()
def flow(
    work: Where = Path("runs/nano"),
    run: str = "flow",
    tokenizer: Run = "tokenizer",
    spoken: Spoken = "",
    start: Annotated[str, typer.Option(help="A run whose flow is learned further.")] = "",
    shards: Shards = None,
    steps: int = 4000,
    minutes: float = 1e9,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Learn the flow decoder on kept codes and a kept regressor; goes on from the last checkpoint."""
    import torch

    from stepaudio.training import flow_run

    torch.set_num_threads(threads)
    plan = Plan(
        steps=steps,
        learning_rate=8e-4,
        minutes=minutes,
        evaluate_every=200,
        bf16=bf16,
        keep="last",
        device=device,
    )
    print(flow_run.train_run(work, run, tokenizer, shards or ["*"], plan, spoken or None, start or None))


@app.command()
def usage(
    sets: Annotated[list[str], typer.Argument(help="Patterns of shards.")],
    work: Where = Path("runs/nano"),
    run: Run = "tokenizer",
) -> None:
    """Tell how much of both codebooks occurs in prepared clips."""
    from stepaudio.training import autoencoder_run

    for line in autoencoder_run.usage_run(work, run, sets):
        print(line, flush=True)


@app.command()
def measure(
    sets: Annotated[list[str], typer.Argument(help="Patterns of shards.")],
    data: Data,
    work: Where = Path("runs/nano"),
    corpus: Annotated[Path | None, typer.Option(help="The data engine's folder.")] = None,
    run: Run = "tokenizer",
    streams: Seen = "both",
    clips: int = 12,
) -> None:
    """Judge recordings, their WORLD copies and their resynthesis by the regressor."""
    from stepaudio.training import autoencoder_run
    from stepaudio.training.corpus import Recordings

    recordings = Recordings(work / "features", data, corpus)
    judged = autoencoder_run.measure_run(
        work, run, sets, recordings.sound, recordings.texts(), clips, _streams(streams)
    )
    for line in judged:
        print(line, flush=True)


def _streams(name: str) -> "Streams":
    from typing import get_args

    from stepaudio.training.tokenizer import Streams

    for known in get_args(Streams):
        if known == name:
            return known  # type: ignore[no-any-return]
    raise typer.BadParameter(f"is one of {', '.join(get_args(Streams))}", param_hint="--streams")


def _labelling(steps: int, batch: int | None, device: str, bf16: bool) -> Plan:
    return Plan(
        steps=steps,
        learning_rate=2e-3,
        warmup=50,
        weight_decay=0.05,
        average=0.98,
        evaluate_every=100,
        bf16=bf16,
        device=device,
        batch=batch,
    )


if __name__ == "__main__":
    app()
