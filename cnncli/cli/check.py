"""``cnn doctor``: what computes here, and why."""

from __future__ import annotations

from cnncli.cli.output import JsonOption, print_json


def doctor(json: JsonOption = False) -> None:
    """Versions, devices, memory and disk; why it runs on the CPU when it does."""
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
