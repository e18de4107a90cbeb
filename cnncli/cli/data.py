"""``cnn data``."""

from __future__ import annotations

from typing import Annotated

import typer

from cnncli.cli.arguments import load_config
from cnncli.cli.options import ConfigArguments, JsonOption
from cnncli.errors import printable
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.report import console, data, training
    from cnncli.train import prepare


def command(
    arguments: ConfigArguments,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Where the picture goes; runs/NAME-data.png unless "
                                            "given.")] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Count the data, and draw a batch of it.

    The picture shows images before and after preprocessing and augmentation.
    """
    config, loaded = load_config(arguments)
    path = data.picture_path(out, loaded.config.name)
    events = training.TrainingConsole(console.make_console(stderr=json))
    loaded_data = prepare.load_data(loaded.config, loaded.graph, events.loading)
    for text in loaded_data.notes:
        events.note(text)
    constants = prepare.fit_constants(loaded.config, loaded_data.dataset.train)
    data.draw(loaded.config, loaded_data, constants, path)
    document = {**data.counts(loaded_data), "picture": str(path)}
    picture = printable(f"picture {path}")
    console.show(document, json, data.counts_table(document), picture, next=("train", config))
