"""``cnn predict``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cnncli.cli.options import JsonOption, LatestOption, RunArgument
from cnncli.errors import ConfigError, DataError
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import predict
    from cnncli.report import console, predictions, training


def command(
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
    output = console.make_console(stderr=json or csv)
    events = training.TrainingConsole(output)
    documents = predict.predict(Path(run), files or [], values or [], "latest" if latest else "best", events)
    errors: list[str] = []
    try:
        if json:
            console.print_json_list(_likeliest(documents, top, errors))
        elif csv:
            predictions.print_csv(_likeliest(documents, top or 1, errors))
        else:
            likeliest = _likeliest(documents, top or 3, errors)
            table = predictions.rendered(each for each in likeliest if "error" not in each)
    finally:
        events.close()
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if not json and not csv:
        if table.row_count:
            output.print(table)
        output.print(console.next_line("eval", run))
    if errors:
        raise typer.Exit(DataError.exit_code)


def _likeliest(documents: Iterable[dict[str, Any]], count: int | None, errors: list[str]) -> Iterator[dict[str, Any]]:
    """The documents with the ``count`` likeliest classes, the likeliest first. Appends their errors to ``errors``."""
    for document in documents:
        if "error" in document:
            errors.append(document["error"])
        elif count:
            ranked = sorted(document["probabilities"].items(), key=lambda item: -item[1])
            document["probabilities"] = dict(ranked[:count])
        yield document
