"""``cnn init``."""

from __future__ import annotations

from typing import Annotated

import typer

from cnncli.cli.options import JsonOption
from cnncli.errors import printable
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import starter
    from cnncli.report import console


def command(
    name: Annotated[str, typer.Argument(help="A bundled config's name, or a new one.")], json: JsonOption = False
) -> None:
    """Write NAME.yaml to start from.

    A bundled config, or a commented starter that trains on the embedded digits.
    """
    path = starter.write_starter(name)
    document = {"config": str(path), "schema": starter.SCHEMA}
    console.show(document, json, printable(f"wrote   {path}"), next=("train", path))
