"""Progress of a pull: a small protocol for anybody, and a bar on stderr for people."""

from types import TracebackType
from typing import Protocol, Self


class Progress(Protocol):
    """What :func:`stepaudio.hub.pull` reports to; never called when nothing has to be fetched."""

    def start(self, title: str, total: int) -> None:
        """Fetching begins; ``total`` is in bytes."""

    def update(self, done: int, note: str) -> None:
        """``done`` bytes out of the total are here (never falls); ``note`` says what is going on."""

    def finish(self) -> None:
        """Everything is here."""


class Silent:
    """Reports nothing."""

    def start(self, title: str, total: int) -> None:
        """Say nothing."""

    def update(self, done: int, note: str) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""


class Meter:
    """Adds up bytes for a :class:`Progress`: what is done, plus an estimate of what is on its way."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress: Progress = progress or Silent()
        self._done = self._shown = self._total = 0
        self.note = ""

    def start(self, title: str, total: int) -> None:
        """Begin counting towards ``total`` bytes."""
        self._total = total
        self._progress.start(title, total)

    def on_the_way(self, count: int) -> None:
        """``count`` bytes beyond the finished ones have arrived; they may be counted again."""
        self._shown = max(self._shown, min(self._done + count, self._total))
        self._progress.update(self._shown, self.note)

    def add(self, count: int) -> None:
        """``count`` more bytes are verified."""
        self._done += count
        self.on_the_way(0)

    def finish(self) -> None:
        """Everything is here."""
        self._progress.finish()


class Bar:
    """A progress bar over all bytes of a pull, drawn with rich on stderr; a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", visible=False, total=0, note="")
        self._started = False

    def start(self, title: str, total: int) -> None:
        """Show the bar."""
        self._bar.update(self._task, description=title, total=total, visible=True)
        self._bar.start()
        self._started = True

    def update(self, done: int, note: str) -> None:
        """Draw the new state."""
        self._bar.update(self._task, completed=done, note=note)

    def finish(self) -> None:
        """Leave the full bar on the screen."""
        total = self._bar.tasks[0].total
        self._bar.update(self._task, completed=total, note="done")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:  # stopping a bar that never started would print an empty line
            self._bar.stop()
