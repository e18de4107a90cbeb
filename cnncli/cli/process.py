"""Running a command: its streams, and how an error leaves the process."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import typer

from cnncli import __version__
from cnncli.cli.output import open_streams, print_json
from cnncli.errors import CnnError, MachineError, Place, Problem, printable, ran_out_of_memory

ISSUES = "Please report it with the file above."
UsageError: Any = typer.BadParameter.__base__  # Typer exports only some of its kinds


def run() -> int:
    """Run the command that was typed; its exit code. Errors of the user's are told in words; ours leave a log."""
    gc.set_threshold(100_000)  # starting makes half a million objects that stay: looking through them takes 40 ms,
    atexit.register(gc.freeze)  # and a last time when leaving as much again
    output = open_streams()
    from cnncli.cli.app import app

    code = _exit_code(partial(app, prog_name="cnn", standalone_mode=False))
    # What is left is JAX's own cleaning up: it would answer Ctrl-C with a traceback.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    if output is not None:
        sys.stdout.flush()
        is_log = sys.argv[1:2] == ["train"] and "--json" not in sys.argv
        if output.refused and not code and not is_log:
            return _say(MachineError.of(f"cannot be written: {output.refused.strerror}", place=Place("stdout")))
    return code


def _exit_code(action: Callable[[], int | None]) -> int:
    try:
        return action() or 0
    except UsageError as error:
        error.show()
        _say_json(error.exit_code, [Problem(error.format_message())])
        return error.exit_code
    except CnnError as error:
        return _say(error)
    except Exception as error:  # the last line of defence: a bug of ours must not look like the user's
        refused = _refused(error)
        return _say(refused) if refused else _bug(error)


def _refused(error: Exception) -> CnnError | None:
    """What the machine refused, where no nearer place has put it in words."""
    if ran_out_of_memory(error):
        return MachineError.of("out of memory", "Less is taken by a smaller train.batch_size, or smaller images.")
    if isinstance(error, OSError) and error.filename:
        return MachineError.of(f"the system refuses: {error.strerror}", place=Place(os.fsdecode(error.filename)[:200]))
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    if isinstance(error, ValueError) and innermost.f_globals.get("__name__") == "jax._src.config":
        return MachineError.of(f"JAX does not start: {error}", "Unset or mend that environment variable (JAX_...).")
    return None


def _say(error: CnnError) -> int:
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr)
    if os.environ.get("CNN_DEBUG"):
        traceback.print_exc()
    _say_json(error.exit_code, error.problems)
    return error.exit_code


def _say_json(code: int, problems: list[Problem]) -> None:
    """The same for a script that asked for JSON."""
    if "--json" in sys.argv:
        print_json({"exit_code": code, "errors": [problem.document() for problem in problems]})


def _bug(error: Exception) -> int:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="cnn-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(printable(f"cnn {__version__} {sys.argv[1:]}") + f"\n{traceback.format_exc()}")
    summary = printable(f"{type(error).__name__}: {error}")[:300]
    print(f"error: cnn has a bug: {summary}\nThe details are in {log.name}. {ISSUES}", file=sys.stderr)
    if os.environ.get("CNN_DEBUG"):
        traceback.print_exc()
    _say_json(70, [Problem(f"cnn has a bug: {summary}", hint=f"The details are in {log.name}. {ISSUES}")])
    return 70
