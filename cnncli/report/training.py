"""The output of a training: a line per epoch and a live bar inside it; without a terminal a line every ten seconds."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text
from typing_extensions import override

from cnncli.errors import printable
from cnncli.report.console import dim, note, result
from cnncli.report.text import bytes_text, seconds_text
from cnncli.train.events import EpochRow, Events, Outcome, Progress

HEADER = "  epoch     loss  accuracy  val loss  val acc        lr   images/s      time"
TABLE_WIDTH = len(HEADER) + 2  # columns; in a narrower terminal rows are short
BAR_WIDTH = 80  # columns; in a narrower terminal there is text without a bar
PLAIN_EVERY = 10.0  # seconds between two lines of progress where there is no terminal
MOST_ROWS = 50  # of a training with many quick epochs


class NotesConsole(Events):
    """Prints notes only."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.run: Path | None = None

    @override
    def started(self, run: Path, about: str) -> None:
        self.run = run

    @override
    def note(self, text: str) -> None:
        self.console.print(note(text))

    def close(self) -> None:
        """Print what is still unprinted, and leave the terminal as it was."""


class TrainingConsole(NotesConsole):
    """Prints everything that happens in a training."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bar: Bar | None = None
        self.compiled_event: threading.Event | None = None  # set when the compilation is over
        self.task = TaskID(0)
        self.bar_start = (0.0, 0)  # seconds of the clock, work done by then
        self.last_output = time.monotonic()
        self.unprinted: EpochRow | None = None  # the newest row, unless it is printed
        self.unprinted_best: EpochRow | None = None  # the best row, unless it is printed

    @override
    def loading(self, what: str, done: int, total: int) -> None:
        amount = f"{bytes_text(done)} of {bytes_text(total)}" if total > 1 << 20 else f"{done} of {total}"
        plain = f"{printable(what)} {100 * done // max(total, 1)} %"
        self._show_progress(f"{printable(what)}  {amount}", plain, done, total)

    @override
    def device(self, device: str) -> None:
        self.console.print(Text.assemble("device  ", (device, "bold")))

    @override
    def started(self, run: Path, about: str) -> None:
        self._hide_bar()
        super().started(run, about)
        self.console.print(Text.assemble("run     ", (printable(str(run)), "bold")))
        self.console.print(Text(printable(about)))

    @override
    def note(self, text: str) -> None:
        self._hide_bar()
        super().note(text)

    @override
    def compiling(self) -> None:
        """Show the time so far: in a bar, or without a terminal in a line every ten seconds."""
        if self.console.is_terminal:
            self._show_progress("compiling", "", 0, 1)
        elif self.compiled_event is None:
            self.compiled_event = threading.Event()
            threading.Thread(target=self._print_compiling, args=(self.compiled_event,), daemon=True).start()

    def _print_compiling(self, compiled: threading.Event) -> None:
        start = time.monotonic()
        while not compiled.wait(PLAIN_EVERY):
            self.console.print(dim(f"compiling, {seconds_text(time.monotonic() - start)}"))

    @override
    def compiled(self, seconds: float) -> None:
        self._hide_bar()
        self.console.print(dim(f"compiled in {seconds_text(seconds)}"))
        if self.console.width >= TABLE_WIDTH:
            self.console.print(Text(HEADER, style="bold"))

    @override
    def progress(self, progress: Progress) -> None:
        text = f"epoch {progress.epoch}  loss {progress.loss:.4f}  accuracy {progress.accuracy:.2%}"
        text += f"  {progress.rate:,.0f} images/s"
        if self.console.is_terminal or progress.step < progress.steps:
            plain = f"  step {progress.step}/{progress.steps}  {text}"
            self._show_progress(text, plain, progress.step, progress.steps)

    @override
    def epoch(self, row: EpochRow) -> None:
        """Of many quick epochs only some are printed: the first, the last, some between, and the best at the end."""
        self._hide_bar()
        every = -(-row.epochs // MOST_ROWS)
        due = row.epoch in (1, row.epochs) or row.epoch % every == 0
        self.unprinted_best = row if row.best else self.unprinted_best
        if due or time.monotonic() - self.last_output > PLAIN_EVERY:
            self._print_row(row)
        else:
            self.unprinted = row

    @override
    def finished(self, outcome: Outcome) -> None:
        self.close()
        if self.unprinted_best:
            self.console.print(Text(f"best    {_short_row(self.unprinted_best)}"))
        spent = f"{seconds_text(outcome.seconds)}, {seconds_text(outcome.compile_seconds)} of it compiling"
        self.console.print(dim(f"{outcome.steps:,} steps in {spent}; {outcome.images_per_second:,.0f} images/s"))
        name, figures = ("test", outcome.test) if outcome.test else ("validation", outcome.val)
        if figures:
            self.console.print(result(f"{name} accuracy {figures['accuracy']:.2%}  (loss {figures['loss']:.4f})"))

    @override
    def close(self) -> None:
        self._hide_bar()
        if self.unprinted:
            self._print_row(self.unprinted)

    def _print_row(self, row: EpochRow) -> None:
        self.last_output = time.monotonic()
        self.unprinted = None
        self.unprinted_best = None if row.best else self.unprinted_best
        self.console.print(Text(_row(row) if self.console.width >= TABLE_WIDTH else _short_row(row)))

    def _show_progress(self, text: str, plain: str, done: int, total: int) -> None:
        """``text`` beside a bar until all is done; without a terminal ``plain`` as a line, but seldom."""
        if not self.console.is_terminal:
            if time.monotonic() - self.last_output > PLAIN_EVERY:
                self.last_output = time.monotonic()
                self.console.print(dim(plain))
            return
        if self.bar is None:
            self.bar_start = time.monotonic(), done
            self.bar = Bar(*self._columns(), console=self.console, transient=True, refresh_per_second=8)
            self.task = self.bar.add_task(text, total=total, eta="")
            self.bar.start()
        start, first = self.bar_start
        rate = (done - first) / max(time.monotonic() - start, 1e-3)
        eta = f"ETA {seconds_text((total - done) / rate)}" if rate > 0 and done > first else ""
        self.bar.update(self.task, description=text, completed=done, total=total, eta=eta)
        if done >= total:
            self._hide_bar()

    def _columns(self) -> tuple[ProgressColumn, ...]:
        text = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        if self.console.width < BAR_WIDTH:
            return (text,)
        return BarColumn(20), text, TimeElapsedColumn(), TextColumn("{task.fields[eta]}")

    def _hide_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        if self.compiled_event is not None:
            self.compiled_event.set()
            self.compiled_event = None


def _row(row: EpochRow) -> str:
    val = f"{row.val['loss']:>9.4f} {row.val['accuracy']:>8.2%}" if row.val else f"{'-':>9} {'-':>8}"
    star = "*" if row.best else " "
    return (f"{f'{row.epoch}/{row.epochs}':>7} {row.train['loss']:>8.4f} {row.train['accuracy']:>9.2%} {val}{star} "
            f"{row.lr:>8.2g} {row.images_per_second:>10,.0f} {seconds_text(row.seconds):>9}")  # fmt: skip


def _short_row(row: EpochRow) -> str:
    val = f" val {row.val['loss']:.4f} {row.val['accuracy']:.2%}" if row.val else ""
    return f"{row.epoch}/{row.epochs} loss {row.train['loss']:.4f} {row.train['accuracy']:.2%}{val}"
