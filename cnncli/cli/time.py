"""``cnn time``."""

from __future__ import annotations

from cnncli.cli.arguments import load_config
from cnncli.cli.options import ConfigArguments, JsonOption
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import timing
    from cnncli.report import console, training
    from cnncli.report import timing as report


def command(arguments: ConfigArguments, json: JsonOption = False) -> None:
    """Measure images per second, and each layer's share.

    In training and in prediction, on random data: none need be there.
    """
    config, loaded = load_config(arguments)
    events = training.TrainingConsole(console.make_console(stderr=json))
    try:
        document = timing.measure(loaded, events)
    finally:
        events.close()
    console.show(document, json, report.rendered(document), next=("train", config))
