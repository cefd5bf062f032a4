"""nano's ear: hear, train, export. See README.md beside this file; tts/engine.py makes takes to learn from.

python listening/nano.py label  --data DATA --out LABELS.json SET        # recordings without transcripts
python listening/nano.py hear   --data DATA --work WORK --labels LABELS.json SET ...
python listening/nano.py learn  --work WORK --texts TEXT --questions JSONL SET ...
python listening/nano.py export --work WORK --out FOLDER
"""

import json
import random
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepaudio.training.loop import Plan

if TYPE_CHECKING:
    from stepaudio.lm.model import DecoderLM
    from stepaudio.lm.text import TextTokenizer

app = typer.Typer(add_completion=False, no_args_is_help=True)
Data = Annotated[Path, typer.Option(help="Folder of the data sets, each with manifest.jsonl.")]
Where = Annotated[Path, typer.Option(help="Work folder: what was heard, checkpoints, logs.")]
Labels = Annotated[Path | None, typer.Option(help="Transcripts of recordings that have none, by key.")]
Sets = Annotated[list[str], typer.Argument(help="Names of folders with recordings or takes.")]
LM, EAR = "smollm2-135m-instruct", "whisper-tiny.en"


@app.command()
def label(
    name: Annotated[str, typer.Argument(help="Name of a folder with recordings.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="JSON file.")],
) -> None:
    """Have Whisper base write down recordings that nobody has; its errors become ours."""
    from stepaudio import hub
    from stepaudio.recognition import WhisperEars
    from stepaudio.training.corpus import read_start
    from stepaudio.training.heard import LONGEST_S

    ears = WhisperEars(hub.folder("whisper-base"))
    texts = {}
    for line in (data / name / "manifest.jsonl").read_text("utf-8").splitlines():
        path = data / name / json.loads(line)["audio"]
        heard = ears.transcribe(read_start(path, LONGEST_S))
        texts[path.stem] = " ".join(segment.text for segment in heard)
    out.write_text(json.dumps(texts, indent=0), "utf-8")


@app.command()
def hear(
    sets: Sets,
    data: Data,
    work: Where = Path("runs/nano"),
    labels: Labels = None,
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
    texts = json.loads(labels.read_text("utf-8")) if labels else {}
    for variant in heard.VARIANTS:
        for name in sets:
            for path in heard.hear(data / name, texts, work / "heard", hearing, variant, shards):
                print(path.name, flush=True)


@app.command()
def learn(
    sets: Sets,
    work: Where = Path("runs/nano"),
    texts: Annotated[list[Path] | None, typer.Option(help="Files with sentences to write down.")] = None,
    questions: Annotated[list[Path] | None, typer.Option(help='JSON Lines of "question", "answers".')] = None,
    typed: Annotated[int, typer.Option(help="Most sentences, and most questions.")] = 600,
    steps: int = 2000,
    batch: int = 16,
    rank: int = 16,
    minutes: float = 1e9,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = True,
) -> None:
    """Learn to write down, to answer and to tell how it was said; goes on where it was stopped."""
    import torch

    from stepaudio import hub
    from stepaudio.features.heard import load_tokenizer
    from stepaudio.lm.bridge import Bridge
    from stepaudio.training import heard, lessons, listening_run

    torch.set_num_threads(threads)
    tokenizer, lm = _language_model(device)
    bridge = Bridge(load_tokenizer(hub.folder(EAR)), tokenizer)
    kept, said = listening_run.split(heard.read(work / "heard", sets))
    asked = [json.loads(line) for line in _drawn(questions or [], typed)]
    kept_asked, asked = asked[::20], [each for place, each in enumerate(asked) if place % 20]
    manners = cycle(each.heard.manner for each in said)
    spoken = [lessons.typed(bridge, text, next(manners)) for text in _drawn(texts or [], typed)]
    for part, rows in ((spoken, asked), (kept, kept_asked)):
        part += [lessons.typed(bridge, row["question"], next(manners), row["answers"][0]) for row in rows]
    print(f"{len(said)} recordings and {len(spoken)} texts to learn from, {len(kept)} held out")
    teaching = lessons.Teaching(tokenizer, bridge, listening_run.opening())
    course = lessons.Course(said, spoken, teaching, batch)
    plan = Plan(
        steps=steps,
        learning_rate=6e-4,
        warmup=50,
        weight_decay=0.02,
        average=0.99,
        within=minutes,
        bf16=bf16,
        keep="last",
        device=device,
    )
    print(listening_run.train_run(work, "ear", course, kept, lm, plan, rank=rank))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder for adaptor and adapter.")],
    work: Where = Path("runs/nano"),
) -> None:
    """Write the trained ear as nano reads it."""
    from stepaudio.lm.adaptor import save_adaptor
    from stepaudio.lm.hearing import ADAPTER, ADAPTOR
    from stepaudio.training.listening_run import load_ear

    _, lm = _language_model()
    ear = load_ear(work, "ear", lm)
    out.mkdir(parents=True, exist_ok=True)
    save_adaptor(ear.adaptor, out / ADAPTOR)
    ear.adapter.save(out / ADAPTER)


def _drawn(paths: list[Path], most: int) -> list[str]:
    """Some lines out of files, the same every time."""
    lines = sorted({line for path in paths for line in path.read_text("utf-8").splitlines() if line.strip()})
    return random.Random(0).sample(lines, min(most, len(lines)))


def _language_model(device: str = "cpu") -> "tuple[TextTokenizer, DecoderLM]":
    import torch

    from stepaudio import hub
    from stepaudio.lm.text import load_text_tokenizer
    from stepaudio.lm.weights import load_lm

    folder = hub.folder(LM)
    return load_text_tokenizer(folder), load_lm(folder, dtype=torch.bfloat16, device=device)


if __name__ == "__main__":
    app()
