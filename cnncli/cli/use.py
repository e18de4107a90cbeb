"""``cnn eval`` and ``cnn predict``: a trained network at work."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cnncli.cli.output import JsonOption, print_json
from cnncli.errors import printable

RunArgument = Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help="A folder like runs/lenet5-1, or one of "
                                            "its checkpoints.")]  # fmt: skip
LatestOption = Annotated[bool, typer.Option("--latest", help="The latest checkpoint instead of the best.")]


class SplitChoice(StrEnum):
    """A split by its name."""

    train = "train"
    val = "val"
    test = "test"


def eval_(
    run: RunArgument,
    split: Annotated[SplitChoice | None, typer.Option(help="Which images; test where there are any.")] = None,
    latest: LatestOption = False,
    json: JsonOption = False,
) -> None:
    """Measure a trained network on its data.

    Loss, accuracy, per-class precision, recall and F1, and the confusion matrix.
    """
    from cnncli.evaluate import evaluate_run
    from cnncli.report.console import dim, make_console
    from cnncli.report.tables import class_table, confusion_table
    from cnncli.report.training import TrainingConsole

    console = make_console(stderr=json)
    events = TrainingConsole(console)
    found = evaluate_run(Path(run), split.value if split else None, "latest" if latest else "best", events)
    document = found.document()
    if json:
        print_json(document)
        return
    console.print(f"checkpoint  {printable(document['checkpoint'])}")
    console.print(class_table(document))
    console.print(confusion_table(found.classes, document["confusion"]))
    figures = f"{document['split']} accuracy {document['accuracy']:.2%}  (loss {document['loss']:.4f}, "
    console.print(f"{figures}{document['examples']:,} images)", style="bold green")
    console.print(dim(f"next    cnn predict {run} PICTURE.png"))


def predict(
    run: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="PNG or JPEG pictures.")],
    latest: LatestOption = False,
    json: JsonOption = False,
) -> None:
    """Classes and probabilities for pictures."""
    from cnncli.predict import predict as predict_files
    from cnncli.report.console import dim, make_console
    from cnncli.report.tables import prediction_table
    from cnncli.report.training import TrainingConsole

    console = make_console(stderr=json)
    documents = predict_files(Path(run), files, "latest" if latest else "best", TrainingConsole(console))
    if json:
        print_json(documents)
        return
    console.print(prediction_table(documents))
    console.print(dim(f"next    cnn eval {run}"))
