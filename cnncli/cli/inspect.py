"""``cnn inspect``."""

from __future__ import annotations

from typing import Annotated

import typer

from cnncli.cli.arguments import config_and_overrides
from cnncli.cli.options import JsonOption
from cnncli.errors import ConfigError
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import bundled
    from cnncli.config import load
    from cnncli.report import console, inspect
    from cnncli.report import explain as formulas


def command(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="CONFIG|RUN|NAME [KEY=VALUE ...] [LAYER]", help="A YAML file, a run's folder or a "
                       "bundled config's name; overrides; with --explain the name of one layer."),
    ],
    explain: Annotated[
        bool, typer.Option("--explain", help="Each number with its formula, of all layers or of one.")
    ] = False,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Show shapes, parameters and costs of every layer.

    Also multiply-adds, memory and the receptive field.
    """
    config, words = config_and_overrides(arguments)
    layers = [word for word in words if "=" not in word]
    if len(layers) > int(explain):
        hint = "One layer at a time." if explain else "An override is key=value; a layer's name needs --explain."
        raise ConfigError.of(f"'{layers[-1]}' is not an override", hint)
    loaded = load.load(bundled.find_config(config), [word for word in words if "=" in word])
    name = layers[0] if layers else None
    document = formulas.document(loaded, name) if explain else inspect.document(loaded)
    notes = [console.note(f"{node.name}: {text}") for node in loaded.graph.nodes if (text := node.layer.note())]
    rendered = formulas.rendered(document) if explain else inspect.rendered(document)
    next_command = ("train", config) if explain else ("inspect", config, "--explain")
    console.show(document, json, rendered, *notes, next=next_command)
