"""``cnn doctor``: what computes here, and why; and whether what is saved is kept."""

from __future__ import annotations

from typing import Annotated

import typer

from cnncli.cli.output import JsonOption, print_json


def doctor(
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Kill, damage and refuse a small training on this machine: a minute.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show versions, devices, memory, and what computes and why."""
    if selftest:
        _selftest(json)
        return
    from cnncli.doctor import findings
    from cnncli.report.console import dim, make_console
    from cnncli.report.tables import table

    found = findings()
    if json:
        print_json(found)
        return
    made = table("", "", left=2)
    made.show_header = False
    for key, value in found.items():
        made.add_row(key, "\n".join(value) if isinstance(value, list) else str(value))
    console = make_console()
    console.print(made)
    console.print(dim("next    cnn train digits"))


def _selftest(json: bool) -> None:
    """Exit code 4 where the machine does not keep what is saved."""
    import signal
    import time

    from cnncli.errors import MachineError
    from cnncli.report.console import dim, make_console
    from cnncli.selftest import selftest

    signal.signal(signal.SIGINT, signal.default_int_handler)  # its folder and its trainings end with it
    console, began = make_console(stderr=json), time.monotonic()
    checks = selftest(lambda text: console.print(dim(text)))
    seconds = time.monotonic() - began
    passed = all(check.passed for check in checks)
    if json:
        print_json({"passed": passed, "seconds": seconds, "checks": [vars(check) for check in checks]})
    for check in () if json else checks:
        console.print(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.words}")
    if not passed and json:
        raise typer.Exit(MachineError.exit_code)  # the document has said so
    if not passed:
        raise MachineError.of("the self-test failed", "Do not trust this machine or disk with a long training.")
    if not json:
        console.print(dim(f"{seconds:.0f} seconds, on the CPU"))
        console.print(dim("next    cnn train digits"))
