"""Training as it is watched: a row per epoch, a live bar inside it; plain lines where there is no terminal."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from cnncli.errors import printable
from cnncli.report.console import bytes_text, dim, seconds_text
from cnncli.train.events import EpochRow, Events, Outcome
from cnncli.train.events import Progress as Steps

HEADER = "  epoch     loss  accuracy  val loss  val acc        lr   images/s      time"
NARROW = len(HEADER) + 2
PLAIN_EVERY = 10.0  # seconds between two lines of progress where there is no terminal
MOST_ROWS = 50  # of epochs that are over in a moment
BAR = 80  # columns under which there is no room for a bar beside its words


class NotesConsole(Events):
    """Prints only what a user should know."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.run: Path | None = None

    def started(self, run: Path, about: str) -> None:
        """Nothing to say, but the run is known."""
        self.run = run

    def note(self, text: str) -> None:
        """A line of its own."""
        self.console.print(Text(f"note: {printable(text)}", style="yellow"))

    def close(self) -> None:
        """Leave the terminal as it was."""


class TrainingConsole(NotesConsole):
    """Prints what happens to ``console``."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bar: Progress | None = None
        self.compiles: threading.Event | None = None  # set when nothing more is to be said of compiling
        self.task = TaskID(0)
        self.began = (0.0, 0)
        self.spoke = time.monotonic()
        self.held: EpochRow | None = None  # the newest row, if it is not printed
        self.best: EpochRow | None = None  # the best row, if it is not printed

    def loading(self, what: str, done: int, total: int) -> None:
        """A bar for reading and downloading."""
        if self.console.is_terminal:
            amount = f"{bytes_text(done)} of {bytes_text(total)}" if total > 1 << 20 else f"{done} of {total}"
            self._show(f"{printable(what)}  {amount}", done, total)
            if done >= total:
                self._hide()
        elif time.monotonic() - self.spoke > PLAIN_EVERY:
            self.spoke = time.monotonic()
            self.console.print(dim(f"{printable(what)} {100 * done // max(total, 1)} %"))

    def device(self, device: str) -> None:
        """The first line of all."""
        self.console.print(Text.assemble("device  ", (device, "bold")))

    def started(self, run: Path, about: str) -> None:
        """The run and what it trains."""
        self._hide()
        self.run = run
        self.console.print(Text.assemble("run     ", (printable(str(run)), "bold")))
        self.console.print(Text(printable(about)))

    def note(self, text: str) -> None:
        """A line of its own."""
        self._hide()
        super().note(text)

    def compiling(self) -> None:
        """The time it takes so far: as a bar, or in a line now and then."""
        if self.console.is_terminal:
            self._show("compiling", 0, 1)
        elif self.compiles is None:
            self.compiles = threading.Event()
            threading.Thread(target=self._say_how_long, args=(self.compiles,), daemon=True).start()

    def _say_how_long(self, done: threading.Event) -> None:
        start = time.monotonic()
        while not done.wait(PLAIN_EVERY):
            self.console.print(dim(f"compiling, {seconds_text(time.monotonic() - start)}"))

    def compiled(self, seconds: float) -> None:
        """Compile time, then the head of the table."""
        self._hide()
        self.console.print(dim(f"compiled in {seconds_text(seconds)}"))
        if self.console.width >= NARROW:
            self.console.print(Text(HEADER, style="bold"))

    def progress(self, progress: Steps) -> None:
        """The bar inside an epoch."""
        left = progress.steps - progress.step
        said = f"epoch {progress.epoch}  loss {progress.loss:.4f}  accuracy {progress.accuracy:.2%}"
        said += f"  {progress.rate:,.0f} images/s"
        if self.console.is_terminal:
            self._show(said, progress.step, progress.steps)
            if not left:
                self._hide()
        elif left and time.monotonic() - self.spoke > PLAIN_EVERY:
            self.spoke = time.monotonic()
            self.console.print(dim(f"  step {progress.step}/{progress.steps}  {said}"))

    def epoch(self, row: EpochRow) -> None:
        """A row of the table; of many quick epochs some, always the first and the last, and the best at the end."""
        self._hide()
        every = -(-row.epochs // MOST_ROWS)
        due = row.epoch in (1, row.epochs) or row.epoch % every == 0
        self.best = row if row.best else self.best
        if due or time.monotonic() - self.spoke > PLAIN_EVERY:
            self._print_row(row)
        else:
            self.held = row

    def finished(self, outcome: Outcome) -> None:
        """The figures that stay."""
        self.close()
        if self.best:
            self.console.print(Text(f"best    {_short_row(self.best)}"))
        spent = f"{seconds_text(outcome.seconds)}, {seconds_text(outcome.compile_seconds)} of it compiling"
        self.console.print(dim(f"{outcome.steps:,} steps in {spent}; {outcome.images_per_second:,.0f} images/s"))
        for name, figures in (("test", outcome.test), ("validation", outcome.val if not outcome.test else None)):
            if figures:
                words = f"{name} accuracy {figures['accuracy']:.2%}  (loss {figures['loss']:.4f})"
                self.console.print(Text(words, style="bold green"))

    def close(self) -> None:
        """Leave the terminal as it was, with the newest row."""
        self._hide()
        if self.held:
            self._print_row(self.held)

    def _print_row(self, row: EpochRow) -> None:
        self.spoke = time.monotonic()
        self.held = None
        self.best = None if row.best else self.best
        self.console.print(Text(_row(row) if self.console.width >= NARROW else _short_row(row)))

    def _show(self, text: str, done: int, total: int) -> None:
        if self.bar is None:
            words = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
            wide = self.console.width >= BAR
            wide_columns = (BarColumn(20), words, TimeElapsedColumn(), TextColumn("{task.fields[eta]}"))
            columns = wide_columns if wide else (words,)
            self.bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=8)
            self.task = self.bar.add_task(text, total=total, eta="")
            self.bar.start()
            self.began = time.monotonic(), done
        start, first = self.began
        rate = (done - first) / max(time.monotonic() - start, 1e-3)
        eta = f"ETA {seconds_text((total - done) / rate)}" if rate > 0 and done > first else ""
        self.bar.update(self.task, description=text, completed=done, total=total, eta=eta)

    def _hide(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        if self.compiles is not None:
            self.compiles.set()
            self.compiles = None


def _row(row: EpochRow) -> str:
    val = f"{row.val['loss']:>9.4f} {row.val['accuracy']:>8.2%}" if row.val else f"{'-':>9} {'-':>8}"
    star = "*" if row.best else " "
    return (f"{f'{row.epoch}/{row.epochs}':>7} {row.train['loss']:>8.4f} {row.train['accuracy']:>9.2%} {val}{star} "
            f"{row.lr:>8.2g} {row.images_per_second:>10,.0f} {seconds_text(row.seconds):>9}")  # fmt: skip


def _short_row(row: EpochRow) -> str:
    val = f" val {row.val['loss']:.4f} {row.val['accuracy']:.2%}" if row.val else ""
    return f"{row.epoch}/{row.epochs} loss {row.train['loss']:.4f} {row.train['accuracy']:.2%}{val}"
