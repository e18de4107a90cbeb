"""``cnn inspect``, ``data``, ``time``, ``layers``, ``init`` and ``schema``: looking before training."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cnncli.cli.arguments import config_and_overrides, layer_names
from cnncli.cli.output import JsonOption, next_line, print_json
from cnncli.errors import printable

ConfigArguments = Annotated[list[str], typer.Argument(metavar="CONFIG|RUN|NAME [KEY=VALUE ...]",
                                                      help="A YAML file, a run's folder or a shipped config's name; "
                                                      "then overrides.")]  # fmt: skip


def inspect(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="CONFIG|RUN|NAME [KEY=VALUE ...] [LAYER]", help="A YAML file, a run's folder or a "
                       "shipped config's name; overrides; with --explain the name of one layer."),
    ],
    explain: Annotated[
        bool, typer.Option("--explain", help="Each number with its formula, of all layers or of one.")
    ] = False,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Show shapes, parameters and costs of every layer.

    Also multiply-adds, memory and the receptive field.
    """
    from cnncli.config.load import load
    from cnncli.report.console import dim, make_console
    from cnncli.shipped import find_config

    config, overrides = config_and_overrides(arguments)
    names, overrides = layer_names(overrides)
    if len(names) > int(explain):
        raise _unexpected(names[-1], explain)
    loaded = load(find_config(config), overrides)
    console = make_console()
    if explain:
        from cnncli.report.explain import document, rendered

        found = document(loaded, names[0] if names else None)
        parts: list[Any] = [rendered(found)]
    else:
        from cnncli.report.inspect import document as table
        from cnncli.report.tables import inspect_legend, inspect_table

        found = table(loaded)
        parts = [inspect_table(found), dim(inspect_legend(found))]
    if json:
        print_json(found)
        return
    console.print(*parts, sep="\n")
    for node in loaded.graph.nodes:
        if text := node.layer.note():
            console.print(f"note: {node.name}: {text}", style="yellow")
    console.print(next_line("train", config) if explain else next_line("inspect", config, "--explain"))


def _unexpected(word: str, explain: bool):  # type: ignore[no-untyped-def]
    from cnncli.errors import ConfigError

    hint = "One layer at a time." if explain else "An override is key=value; a layer's name needs --explain."
    return ConfigError.of(f"'{word}' is not an override", hint)


def data(
    arguments: ConfigArguments,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Where the picture goes; runs/NAME-data.png unless "
                                            "given.")] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Count the data, and draw a batch of it.

    The picture shows images before and after preprocessing and augmentation.
    """
    from cnncli.config.load import load
    from cnncli.report.console import make_console
    from cnncli.report.data import counts, counts_table, draw, picture_path
    from cnncli.report.training import TrainingConsole
    from cnncli.shipped import find_config

    config, overrides = config_and_overrides(arguments)
    loaded = load(find_config(config), overrides)
    path = picture_path(out, loaded.config.name)
    console = make_console(stderr=json)
    from cnncli.train.prepare import fit_constants, load_data

    events = TrainingConsole(console)
    found = load_data(loaded.config, loaded.graph, events.loading)
    for text in found.notes:
        events.note(text)
    draw(loaded.config, found, fit_constants(loaded.config, found.dataset.train), path)
    document = {**counts(found), "picture": str(path)}
    if json:
        print_json(document)
        return
    console.print(counts_table(document))
    console.print(f"picture {printable(str(path))}")
    console.print(next_line("train", config))


def time(arguments: ConfigArguments, json: JsonOption = False) -> None:
    """Measure images per second, and each layer's share.

    In training and in prediction, on random data: none need be there.
    """
    from cnncli.config.load import load
    from cnncli.report.console import dim, make_console
    from cnncli.report.timing import summary, time_legend, time_table
    from cnncli.report.training import TrainingConsole
    from cnncli.shipped import find_config

    config, overrides = config_and_overrides(arguments)
    loaded = load(find_config(config), overrides)
    from cnncli.timing import measure

    console = make_console(stderr=json)
    events = TrainingConsole(console)
    try:
        found = measure(loaded, events)
    finally:
        events.close()
    if json:
        print_json(found)
        return
    console.print(summary(found))
    console.print(time_table(found))
    console.print(dim(time_legend(found)))
    console.print(next_line("train", config))


def layers(
    name: Annotated[str | None, typer.Argument(help="A layer, optimizer, loss, ..., or a section such as train; a list "
                                                "of all unless given.")] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Show the reference of layers, optimizers, losses and more.

    A page has its fields, formula, source and example.
    """
    from cnncli.report import reference
    from cnncli.report.console import make_console

    if json:
        print_json(reference.documents(name) if name else reference.overview())
        return
    console = make_console()
    console.print(reference.page_text(name) if name else reference.overview_table())
    console.print(next_line("init", "mynet") if name else next_line("layers", "conv"))


def init(
    name: Annotated[str, typer.Argument(help="A shipped config's name, or a new one.")],
    json: JsonOption = False,
) -> None:
    """Write NAME.yaml to start from.

    A shipped config, or a commented starter that trains on the embedded digits.
    """
    from cnncli.report.console import make_console
    from cnncli.starter import SCHEMA, write_starter

    path = write_starter(name)
    if json:
        print_json({"config": str(path), "schema": SCHEMA})
        return
    console = make_console()
    console.print(f"wrote   {printable(str(path))}")
    console.print(next_line("train", str(path)))


def schema() -> None:
    """Print the JSON Schema of a config, for editors.

    With it they complete and check while you type.
    """
    import json as encoder

    from cnncli.config.json_schema import json_schema

    print(encoder.dumps(json_schema(), indent=1))
