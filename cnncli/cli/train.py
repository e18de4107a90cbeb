"""``cnn train``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnncli.cli.arguments import config_and_overrides, require_overrides
from cnncli.cli.output import JsonOption, next_line, print_json
from cnncli.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

    from cnncli.train.events import Events, Outcome


def train(
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
    from cnncli.config.load import load
    from cnncli.shipped import find_config

    given = [*(arguments or []), *(["train.watch=true"] if watch else [])]
    loaded = None
    if resume is None:
        config, overrides = config_and_overrides(given, "Write cnn train CONFIG.yaml, or cnn train --resume RUN.")
        loaded = load(find_config(config), overrides)  # before JAX: errors are quick
    else:
        require_overrides(given)
    from cnncli.report.console import make_console
    from cnncli.train import trainer

    console = make_console(stderr=json or quiet)
    with _listener(console, quiet) as events:
        if loaded is None:
            outcome = trainer.resume(Path(resume or ""), given, events)
        else:
            outcome = trainer.train(loaded, Path(runs), events)
    _report(outcome, console, quiet, json)


@contextmanager
def _listener(console: Console, quiet: bool) -> Iterator[Events]:
    """What prints while training goes on; and the next command if it is interrupted."""
    from cnncli.report.training import NotesConsole, TrainingConsole
    from cnncli.train.interrupts import Interrupted

    events = NotesConsole(console) if quiet else TrainingConsole(console)
    try:
        yield events
    except Interrupted as stopped:
        events.close()
        if events.run is None:
            console.print(f"stopped ({stopped}) before the run began")
        else:
            console.print(f"stopped ({stopped}); everything up to here is saved")
            command = ("eval",) if stopped.trained else ("train", "--resume")
            console.print(next_line(*command, str(events.run)))
        raise typer.Exit(stopped.exit_code) from None
    finally:
        events.close()


def _report(outcome: Outcome, console: Console, quiet: bool, json: bool) -> None:
    """Draw the curves and name the next command."""
    from cnncli.report.plots import curves
    from cnncli.runs.directory import Run
    from cnncli.runs.files import writing

    with writing(outcome.run):
        curves(Run(outcome.run))
    if json:
        print_json(outcome.document())
    elif quiet:
        print(printable(str(outcome.run)))
    if quiet:
        return
    console.print(printable(f"curves  {Run(outcome.run).plots / 'curves.png'}"))
    console.print(next_line("eval", str(outcome.run)))
