"""``cnn doctor``."""

from __future__ import annotations

import signal
import time
from typing import Annotated

import typer

from cnncli.cli.options import JsonOption
from cnncli.errors import MachineError
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli import doctor, selftest
    from cnncli.report import console, tables

TEST_OPTION = typer.Option("--selftest", help="Kill, damage and refuse a small training on this machine: a minute.")


def command(test: Annotated[bool, TEST_OPTION] = False, json: JsonOption = False) -> None:
    """Show versions, devices, memory, and what computes and why."""
    if test:
        _selftest(json)
        return
    findings = doctor.findings()
    table = tables.make_table("", "", left=2)
    table.show_header = False
    for key, value in findings.items():
        table.add_row(key, "\n".join(value) if isinstance(value, list) else str(value))
    console.show(findings, json, table, next=("train", "digits"))


def _selftest(json: bool) -> None:
    """Exit code 4 where the machine does not keep what is saved."""
    # Ctrl-C becomes KeyboardInterrupt, so that the test's folder and trainings are removed.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output, start = console.make_console(stderr=json), time.monotonic()
    checks = selftest.selftest(lambda text: output.print(console.dim(text)))
    seconds = time.monotonic() - start
    passed = all(check.passed for check in checks)
    if json:
        console.print_json({"passed": passed, "seconds": seconds, "checks": [vars(check) for check in checks]})
        raise typer.Exit(0 if passed else MachineError.exit_code)
    for check in checks:
        output.print(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.words}")
    if not passed:
        raise MachineError.of("the self-test failed", "Do not trust this machine or disk with a long training.")
    output.print(console.dim(f"{seconds:.0f} seconds, on the CPU"))
    output.print(console.next_line("train", "digits"))
