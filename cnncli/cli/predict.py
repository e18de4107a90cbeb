"""``cnn predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnncli.cli.options import JsonOption, LatestOption, RunArgument
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import predict
    from cnncli.report import console, tables, training


def command(
    run: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="PNG or JPEG pictures.")],
    latest: LatestOption = False,
    json: JsonOption = False,
) -> None:
    """Classes and probabilities for pictures."""
    events = training.TrainingConsole(console.make_console(stderr=json))
    documents = predict.predict(Path(run), files, "latest" if latest else "best", events)
    console.show(documents, json, tables.prediction_table(documents), next=("eval", run))
