"""The commands of ``cnn``. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins costs 15 ms

from cnncli import __version__
from cnncli.cli import check, look, use
from cnncli.cli.train import train
from cnncli.errors import MachineError
from cnncli.machine import require_address_space

STARTS_JAX = ("train", "eval", "predict", "data", "time", "doctor")  # the commands that do

app = typer.Typer(
    name="cnn",
    help="Convolutional networks from a YAML file: check, train, evaluate, explain.\n\n"
    "Start with:  cnn init mynet  then  cnn train mynet",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    train,
    use.eval_,
    use.predict,
    look.inspect,
    look.data,
    look.time,
    look.layers,
    look.init,
    look.schema,
    check.doctor,
):
    # Given as it is, a line of help is never cut off.
    short = (command.__doc__ or "").partition("\n")[0]
    # `--epochs 3` reaches the command, which knows the line to type instead.
    settings = {"ignore_unknown_options": command in (train, look.inspect, look.data, look.time)}
    app.command(command.__name__.rstrip("_"), short_help=short, context_settings=settings)(command)


def _version(value: bool) -> None:
    if value:
        print(f"cnn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    _require_environment()
    if context.invoked_subcommand in STARTS_JAX:
        require_address_space()


def _require_environment() -> None:
    """MachineError (exit 4) where every command would end in a bug, sooner or later."""
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
