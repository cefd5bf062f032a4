"""The data engine: makes the corpus that nano is trained on, with the teacher's voices. See engine.yaml.

python tts/engine.py make     --out CORPUS --hours 20 --workers 2 [--ray ADDRESS]
python tts/engine.py check    --out CORPUS
python tts/engine.py features --out CORPUS --features FEATURES
python tts/engine.py recorded --data DATA/teacher --features FEATURES
python tts/engine.py report   --out CORPUS

Stop it at any time: the same command goes on where it was.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepaudio.errors import StepAudioError

if TYPE_CHECKING:
    from stepaudio.training.engine.run import Progress
    from stepaudio.workers.work import Executor

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
Out = Annotated[Path, typer.Option(help="Folder of the corpus.")]
RecipeFile = Annotated[Path, typer.Option("--recipe", help="YAML file.")]
Text = Annotated[Path | None, typer.Option(help="Folder of the texts, instead of the recipe's.")]
Workers = Annotated[int, typer.Option(help="Processes, or actors on the cluster.")]
Ray = Annotated[str | None, typer.Option(help="A Ray cluster: auto, host:port or local.")]
DEFAULT = Path(__file__).with_name("engine.yaml")


@app.command()
def make(
    out: Out,
    hours: Annotated[float, typer.Option(help="Hours of speech in all.")],
    workers: Workers = 1,
    ray: Ray = None,
    recipe: RecipeFile = DEFAULT,
    text: Text = None,
    second_half: Annotated[
        str, typer.Option(help="graph, or torch: faster on CPUs with bfloat16 matrix units.")
    ] = "graph",
) -> None:
    """Make takes until there are so many hours, and write a report."""
    from typing import get_args

    from stepaudio.errors import InputError
    from stepaudio.training.engine import jobs, run
    from stepaudio.training.engine.plan import Planner
    from stepaudio.training.engine.recipe import load_recipe, with_texts
    from stepaudio.training.engine.shards import provenance
    from stepaudio.training.engine.teacher import Runner

    if second_half not in get_args(Runner):
        raise InputError(f"--second-half {second_half}: is one of {', '.join(get_args(Runner))}")
    read = load_recipe(recipe)
    planner = Planner.load(with_texts(read, text) if text else read)
    job = jobs.Making(read, partial(jobs.load_kokoro, second_half), jobs.load_whisper)  # type: ignore[arg-type]
    with _bar() as tell:
        progress = run.make(
            planner, job, provenance(read, second_half), out, hours, _executor(workers, ray), tell
        )
    _failures(progress)
    report(out)


@app.command()
def check(out: Out, workers: Workers = 1, ray: Ray = None, recipe: RecipeFile = DEFAULT) -> None:
    """Check takes that were made without, by the recipe's rules; workers must see the folder."""
    from stepaudio.training.engine import jobs, run
    from stepaudio.training.engine.recipe import load_recipe

    read = load_recipe(recipe)
    with _bar() as tell:
        progress = run.check(read, jobs.Checking(read, jobs.load_whisper), out, _executor(workers, ray), tell)
    _failures(progress)
    report(out)


@app.command()
def features(
    out: Out,
    features: Annotated[Path, typer.Option(help="Folder of the features, a file a shard.")],
    workers: Workers = 1,
    ray: Ray = None,
) -> None:
    """Turn finished shards into what training needs; workers must see the folder."""
    from stepaudio.training.corpus import Extracting
    from stepaudio.training.engine import run

    with _bar() as tell:
        progress = run.extract(out, features, Extracting(), _executor(workers, ray), tell)
    _failures(progress)


@app.command()
def recorded(
    data: Annotated[Path, typer.Option(help="Folder of recordings of the teacher, with manifest.jsonl.")],
    features: Annotated[Path, typer.Option(help="Folder of the features, a file a shard.")],
) -> None:
    """Turn recordings that the teacher made before into what training needs."""
    from stepaudio.training.recorded import extract_recorded

    for done in extract_recorded(data, features):
        print(done, flush=True)


@app.command()
def report(out: Out) -> None:
    """Count what is there, print it and write report.json and report.txt."""
    from stepaudio.training.engine.report import as_text
    from stepaudio.training.engine.report import report as count

    found = count(out)
    (out / "report.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    (out / "report.txt").write_text(as_text(found), "utf-8")
    print(as_text(found), end="")


def _executor(workers: int, ray: str | None) -> "Executor":
    if ray:
        from stepaudio.workers.cluster import RayCluster

        return RayCluster(ray, workers)
    from stepaudio.workers.local import InProcess, Processes

    return InProcess() if workers == 1 else Processes(workers)


@contextmanager
def _bar() -> Iterator[Callable[["Progress"], None]]:
    """Show how far it is and the time left, on stderr."""
    from tqdm import tqdm

    bar: tqdm | None = None

    def show(progress: "Progress") -> None:
        nonlocal bar
        if bar is None:  # what was there before does not count for the speed
            done = round(progress.done)
            bar = tqdm(total=round(progress.goal), initial=done, unit=progress.unit, smoothing=0.1)
        bar.set_postfix(dropped=progress.dropped, failed=len(progress.failed), refresh=False)
        bar.update(round(progress.done) - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _failures(progress: "Progress") -> None:
    for shard, reason in progress.failed.items():
        print(f"shard {shard} failed: {reason}", file=sys.stderr)


if __name__ == "__main__":
    try:
        app()
    except StepAudioError as error:
        print(f"engine: {error}", file=sys.stderr)
        sys.exit(2)
