"""``cnn``: the commands, and how an error leaves the process. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import Annotated

import typer

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins costs 15 ms

from cnncli import __version__
from cnncli.cli import check, look, use
from cnncli.cli.train import train
from cnncli.errors import CnnError, MachineError, Place, printable, ran_out_of_memory

ISSUES = "Please report it with the file above."

app = typer.Typer(
    name="cnn",
    help="Convolutional networks from a YAML file: check, train, evaluate, explain.\n\n"
    "Start with:  cnn init mynet  then  cnn train mynet.yaml",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
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
    app.command(name=command.__name__.rstrip("_"))(command)


def _version(value: bool) -> None:
    if value:
        print(f"cnn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run ``cnn``. Errors of the user's are told in words; ours leave a log and exit 70."""
    gc.set_threshold(100_000)  # starting makes half a million objects that stay: looking through them takes 40 ms,
    atexit.register(gc.freeze)  # and a last time when leaving as much again
    try:
        app()
    except CnnError as error:
        _say(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # the last line of defence: a bug of ours must not look like the user's
        refused = _refused(error)
        if refused is None:
            sys.exit(_bug(error))
        _say(refused)
        sys.exit(refused.exit_code)


def _refused(error: Exception) -> CnnError | None:
    """What the machine refused, where no nearer place has put it in words."""
    if ran_out_of_memory(error):
        return MachineError.of("out of memory", "Less is taken by a smaller train.batch_size, or smaller images.")
    if isinstance(error, OSError) and error.filename:
        return MachineError.of(f"the system refuses: {error.strerror}", place=Place(os.fsdecode(error.filename)[:200]))
    return None


def _say(error: CnnError) -> None:
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr)
    if os.environ.get("CNN_DEBUG"):
        import traceback

        traceback.print_exc()


def _bug(error: Exception) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="cnn-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(f"cnn {__version__} {sys.argv[1:]}\n{traceback.format_exc()}")
    summary = printable(f"{type(error).__name__}: {error}")[:300]
    print(f"error: cnn has a bug: {summary}\nThe details are in {log.name}. {ISSUES}", file=sys.stderr)
    if os.environ.get("CNN_DEBUG"):
        traceback.print_exc()
    return 70
