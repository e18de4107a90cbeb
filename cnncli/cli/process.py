"""Runs a command: its streams, its errors in words, its exit code."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import traceback
from typing import Any

import typer

from cnncli import __version__
from cnncli.cli.streams import open_streams
from cnncli.errors import CnnError, MachineError, Place, Problem, printable, ran_out_of_memory
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import json_text
    from cnncli.cli import app

UsageError: Any = typer.BadParameter.__base__  # the base of Typer's usage errors, which it does not export


def run() -> int:
    """Run the command that was typed; its exit code. An error of the user's is printed; one of ours leaves a log."""
    # Starting makes half a million objects that stay. To collect garbage among them takes 40 ms, and again at the end.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    stdout = open_streams()
    code = _run_command()
    # What is left is JAX's own cleaning up, which would answer Ctrl-C with a traceback.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    if stdout is not None:
        sys.stdout.flush()
        only_progress = sys.argv[1:2] == ["train"] and "--json" not in sys.argv
        if stdout.refused and not code and not only_progress:
            return _print_errors(
                MachineError.of(f"cannot be written: {stdout.refused.strerror}", place=Place("stdout"))
            )
    return code


def _run_command() -> int:
    try:
        return app.app(prog_name="cnn", standalone_mode=False) or 0
    except UsageError as error:
        error.show()
        _print_json(error.exit_code, [Problem(error.format_message())])
        return error.exit_code
    except CnnError as error:
        return _print_errors(error)
    except Exception as error:  # a bug of ours must not look like an error of the user's
        refused = _error_of_machine(error)
        return _print_errors(refused) if refused else _log_bug(error)


def _error_of_machine(error: Exception) -> CnnError | None:
    """The error in words if the machine refused something and nothing nearer has caught it."""
    if ran_out_of_memory(error):
        return MachineError.of("out of memory", "Less is taken by a smaller train.batch_size, or smaller images.")
    if isinstance(error, OSError) and error.filename:
        return MachineError.of(f"the system refuses: {error.strerror}", place=Place(os.fsdecode(error.filename)[:200]))
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    if isinstance(error, ValueError) and innermost.f_globals.get("__name__") == "jax._src.config":
        return MachineError.of(f"JAX does not start: {error}", "Unset or mend that environment variable (JAX_...).")
    return None


def _print_errors(error: CnnError) -> int:
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr)
    _print_traceback()
    _print_json(error.exit_code, error.problems)
    return error.exit_code


def _log_bug(error: Exception) -> int:
    import tempfile  # takes 10 ms

    with tempfile.NamedTemporaryFile("w", prefix="cnn-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(printable(f"cnn {__version__} {sys.argv[1:]}") + f"\n{traceback.format_exc()}")
    message = "cnn has a bug: " + printable(f"{type(error).__name__}: {error}")[:300]
    hint = f"The details are in {log.name}. Please report it with the file above."
    print(f"error: {message}\n{hint}", file=sys.stderr)
    _print_traceback()
    _print_json(CnnError.exit_code, [Problem(message, hint=hint)])
    return CnnError.exit_code


def _print_traceback() -> None:
    if os.environ.get("CNN_DEBUG"):
        traceback.print_exc()


def _print_json(code: int, problems: list[Problem]) -> None:
    """Print the errors on stdout too, for a script that asked for JSON."""
    if "--json" in sys.argv:
        print(json_text.json_text({"exit_code": code, "errors": [problem.document() for problem in problems]}))
