"""``cnn eval``."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cnncli.cli.options import JsonOption, LatestOption, RunArgument
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import evaluate, predict
    from cnncli.report import console, evaluation, training

MAX_VALUES = 4  # numbers of an input that is typed; larger ones are in a file


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
    measured = evaluate.evaluate_run(Path(run), split.value if split else None, "latest" if latest else "best", events)
    document = measured.document()
    next_command = ("predict", run, *_example(measured.trained.saved.image_shape))
    console.show(document, json, evaluation.rendered(document, measured.result, measured.classes), next=next_command)


def _example(shape: tuple[int, ...]) -> tuple[str, ...]:
    """An example of an input for ``cnn predict``."""
    if predict.takes_pictures(shape):
        return ("PICTURE.png",)
    count = math.prod(shape)
    return ("--values", ",".join("0" * count)) if count <= MAX_VALUES else ("NUMBERS.csv",)
