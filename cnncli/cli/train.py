"""``cnn train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]


def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG] [KEY=VALUE ...]", help="A YAML file, then overrides like train.epochs=3.",
                       show_default=False),
    ] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Continue a run instead, exactly.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Watch every layer's health (train.watch=true).")] = False,
    runs: Annotated[str, typer.Option(metavar="FOLDER", help="Where the run's folder is made.")] = "runs",
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Train a network from a config; metrics and checkpoints go under runs/."""
    from cnncli.config.load import load
    from cnncli.errors import ConfigError
    from cnncli.shipped import find_config

    given = [*(arguments or []), *(["train.watch=true"] if watch else [])]
    if resume is not None:
        _run(lambda events: _start().resume(Path(resume), given, events), json)
        return
    if not given or "=" in given[0]:
        raise ConfigError.of("no config given", "Write cnn train CONFIG.yaml, or cnn train --resume RUN.")
    loaded = load(find_config(given[0]), given[1:])
    _run(lambda events: _start().train(loaded, Path(runs), events), json)


def _start():  # type: ignore[no-untyped-def]  # noqa: ANN202
    """JAX and all that needs it."""
    from cnncli.train import start

    return start


def _run(action, json: bool) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    from cnncli.report.console import make_console
    from cnncli.report.training import TrainingConsole
    from cnncli.train.signals import Interrupted

    console = make_console(stderr=json)
    events = TrainingConsole(console)
    try:
        outcome = action(events)
    except Interrupted as wish:
        events.close()
        console.print(f"stopped ({wish}); everything up to here is saved")
        console.print(f"next    cnn train --resume {events.run}")
        raise typer.Exit(wish.exit_code) from None
    finally:
        events.close()
    from cnncli.report.plots import curves
    from cnncli.runs.directory import Run

    curves(Run(outcome.run))
    if json:
        import json as encoder

        print(encoder.dumps(outcome.document()))
    console.print(f"curves  {Run(outcome.run).plots / 'curves.png'}")
    console.print(f"next    cnn eval {outcome.run}")
