"""What every command prints with: the ``--json`` option and its document."""

from __future__ import annotations

from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]


def print_json(found: Any) -> None:
    """One document on stdout."""
    import json

    print(json.dumps(found))
