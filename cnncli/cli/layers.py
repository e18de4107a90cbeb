"""``cnn layers``."""

from __future__ import annotations

from typing import Annotated

import typer

from cnncli.cli.options import JsonOption
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.report import console, reference


def command(
    name: Annotated[str | None, typer.Argument(help="A layer, optimizer, loss, ..., or a section such as train; a list "
                                                "of all unless given.")] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Show the reference of layers, optimizers, losses and more.

    A page has its fields, formula, source and example.
    """
    if name:
        console.show(reference.document(name), json, reference.rendered(name), next=("init", "mynet"))
    else:
        console.show(reference.overview(), json, reference.overview_rendered(), next=("layers", "conv"))
