"""``cnn eval`` and ``cnn predict``: a trained network at work."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cnncli.cli.output import JsonOption, next_line, print_json, print_json_list
from cnncli.errors import ConfigError, printable

RunArgument = Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help="A folder like runs/lenet5-1, or one of "
                                            "its checkpoints.")]  # fmt: skip
LatestOption = Annotated[bool, typer.Option("--latest", help="The latest checkpoint instead of the best.")]
SHORT = 4  # numbers of an input that are typed rather than kept in a file


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
    from cnncli.report.console import make_console
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
    console.print(confusion_table(found.classes, found.result))
    figures = f"{document['split']} accuracy {document['accuracy']:.2%}  (loss {document['loss']:.4f}, "
    console.print(f"{figures}{document['examples']:,} images)", style="bold green")
    top = document["top5_accuracy"]
    more = "" if top is None else f", among the 5 likeliest classes {top:.2%}"
    console.print(f"balanced accuracy {document['balanced_accuracy']:.2%}, macro F1 {document['macro_f1']:.4f}{more}")
    console.print(next_line("predict", run, *_example(found.trained.saved.image_shape)))


def _example(shape: tuple[int, ...]) -> tuple[str, ...]:
    """What to give to ``cnn predict``."""
    from cnncli.predict import takes_pictures

    if takes_pictures(shape):
        return ("PICTURE.png",)
    count = math.prod(shape)
    return ("--values", ",".join("0" * count)) if count <= SHORT else ("NUMBERS.csv",)


def predict(
    run: RunArgument,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|FOLDER ...]", help="PNG or JPEG pictures, or folders of them; for a network that "
                       "takes none, text files with an input's numbers in each line.", show_default=False),
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option(metavar="NUMBERS", help="An input's numbers, like 0,1; may be repeated.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="K", help="Only the K likeliest classes.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Lines of file, rank, class, probability and error.")] = False,
    latest: LatestOption = False,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Classes and probabilities for pictures or numbers."""
    if not files and not values:
        raise ConfigError.of("nothing to predict", "Write cnn predict RUN PICTURE.png, or --values 0,1.")
    if csv and json:
        raise ConfigError.of("--csv and --json both want stdout", "Choose one.")
    from cnncli.predict import predict as predict_inputs
    from cnncli.report.console import make_console
    from cnncli.report.tables import prediction_table
    from cnncli.report.training import TrainingConsole

    console = make_console(stderr=json or csv)
    events = TrainingConsole(console)
    found = predict_inputs(Path(run), files or [], values or [], "latest" if latest else "best", events)
    errors: list[str] = []
    try:
        if json:
            print_json_list(_shortened(found, top, errors))
        elif csv:
            _print_csv(_shortened(found, top or 1, errors))
        else:
            answered = (each for each in _shortened(found, top or 3, errors) if "error" not in each)
            shown = prediction_table(answered)
    finally:
        events.close()
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if not json and not csv:
        if shown.row_count:
            console.print(shown)
        console.print(next_line("eval", run))
    if errors:
        raise typer.Exit(3)


def _shortened(found: Iterable[dict[str, Any]], top: int | None, errors: list[str]) -> Iterator[dict[str, Any]]:
    """With the ``top`` likeliest classes, likeliest first. Errors are put into ``errors`` too."""
    for document in found:
        if "error" in document:
            errors.append(document["error"])
        elif top:
            ranked = sorted(document["probabilities"].items(), key=lambda item: -item[1])[:top]
            document["probabilities"] = dict(ranked)
        yield document


def _print_csv(found: Iterable[dict[str, Any]]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("file", "rank", "class", "probability", "error"))
    for document in found:
        name = printable(document.get("file") or document["values"])
        ranked = document.get("probabilities", {})
        for rank, (called, probability) in enumerate(ranked.items(), 1):
            writer.writerow((name, rank, printable(called), probability, ""))
        if not ranked:
            writer.writerow((name, "", "", "", document["error"]))
