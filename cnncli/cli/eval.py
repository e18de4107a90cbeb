"""``cnn eval``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cnncli.cli.options import JsonOption, LatestOption, RunArgument
from cnncli.errors import printable
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import evaluate
    from cnncli.report import console, tables, training


class Split(StrEnum):
    """The splits of a data set."""

    train = "train"
    val = "val"
    test = "test"


def command(
    run: RunArgument,
    split: Annotated[Split | None, typer.Option(help="Which images; test where there are any.")] = None,
    latest: LatestOption = False,
    json: JsonOption = False,
) -> None:
    """Measure a trained network on its data.

    Loss, accuracy, per-class precision, recall and F1, and the confusion matrix.
    """
    events = training.TrainingConsole(console.make_console(stderr=json))
    found = evaluate.evaluate_run(Path(run), split.value if split else None, "latest" if latest else "best", events)
    document = found.document()
    figures = f"{document['split']} accuracy {document['accuracy']:.2%}  (loss {document['loss']:.4f}, "
    console.show(
        document,
        json,
        printable(f"checkpoint  {document['checkpoint']}"),
        tables.class_table(document),
        tables.confusion_table(found.classes, document["confusion"]),
        console.result(f"{figures}{document['examples']:,} images)"),
        next=("predict", run, "PICTURE.png"),
    )
