"""``cnn train``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnncli.cli.arguments import load_config, require_overrides
from cnncli.cli.options import JsonOption
from cnncli.errors import printable
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.report import console, plots, training
    from cnncli.runs import directory, files
    from cnncli.train import interrupts, trainer

if TYPE_CHECKING:
    from rich.console import Console

    from cnncli.train.events import Events


def command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG] [KEY=VALUE ...]", help="A YAML file, then overrides like train.epochs=3.",
                       show_default=False),
    ] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Continue a run instead, exactly.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Watch every layer's health (train.watch=true).")] = False,
    runs: Annotated[str, typer.Option(metavar="FOLDER", help="Where the run's folder is made.")] = "runs",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the run's folder only; notes and errors go to stderr.")
    ] = False,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Train a network; metrics and checkpoints go under runs/."""
    words = [*(arguments or []), *(["train.watch=true"] if watch else [])]
    if resume is None:
        _, loaded = load_config(words, "Write cnn train CONFIG.yaml, or cnn train --resume RUN.")
    else:
        require_overrides(words)
    output = console.make_console(stderr=json or quiet)
    with _progress(output, quiet) as events:
        if resume is None:
            outcome = trainer.train(loaded, Path(runs), events)
        else:
            outcome = trainer.resume(Path(resume), words, events)
    run = directory.Run(outcome.run)
    with files.writing(run.folder):
        plots.curves(run)
    if json:
        console.print_json(outcome.document())
    elif quiet:
        print(printable(str(run.folder)))
    if not quiet:
        output.print(printable(f"curves  {run.plots / 'curves.png'}"))
        output.print(console.next_line("eval", run.folder))


@contextmanager
def _progress(output: Console, quiet: bool) -> Iterator[Events]:
    """Print what training reports; after an interruption, the next command."""
    events = training.NotesConsole(output) if quiet else training.TrainingConsole(output)
    try:
        yield events
    except interrupts.Interrupted as stop:
        events.close()
        if events.run is None:
            output.print(f"stopped ({stop}) before the run began")
        else:
            output.print(f"stopped ({stop}); everything up to here is saved")
            output.print(console.next_line(*(("eval",) if stop.trained else ("train", "--resume")), events.run))
        raise typer.Exit(stop.exit_code) from None
    finally:
        events.close()
