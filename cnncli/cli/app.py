"""The commands of ``cnn``. Each file of this folder that is named for a command holds it; heavy modules load later."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cnncli import __version__
from cnncli.cli import data, doctor, eval, init, inspect, layers, predict, schema, time, train
from cnncli.errors import MachineError
from cnncli.machine import require_address_space

COMMANDS = {"train": train, "eval": eval, "predict": predict, "inspect": inspect, "data": data, "time": time,
            "layers": layers, "init": init, "schema": schema, "doctor": doctor}  # fmt: skip
WITH_OVERRIDES = ("train", "inspect", "data", "time")
WITH_JAX = ("train", "eval", "predict", "data", "time", "doctor")

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins costs 15 ms
app = typer.Typer(
    name="cnn",
    help="Convolutional networks from a YAML file: check, train, evaluate, explain.\n\n"
    "Start with:  cnn init mynet  then  cnn train mynet",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, module in COMMANDS.items():
    # Typer cuts a docstring's first line off, but not a short_help.
    short_help = (module.command.__doc__ or "").partition("\n")[0]
    # `--epochs 3` reaches the command, whose error names the override to type instead.
    settings = {"ignore_unknown_options": name in WITH_OVERRIDES}
    app.command(name, short_help=short_help, context_settings=settings)(module.command)


def _print_version(value: bool) -> None:
    if value:
        print(f"cnn {__version__}")
        raise typer.Exit


@app.callback()
def _before_every_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    _require_environment()
    if context.invoked_subcommand in WITH_JAX:
        require_address_space()


def _require_environment() -> None:
    """MachineError where every command would fail sooner or later."""
    if sys.flags.optimize > 1:
        what = "PYTHONOPTIMIZE=2 (or -OO) takes away the docstrings that are the reference"
        raise MachineError.of(what, "Unset it, or set it to 1.")
    try:
        os.getcwd()
    except OSError:
        raise MachineError.of("the working folder is gone", "Go to one that is there (cd).") from None
    try:
        Path.home()
    except RuntimeError:
        what = "there is no home folder: HOME is not set, and the system knows none for this user"
        raise MachineError.of(what, "Set HOME to a folder that you may write to.") from None
