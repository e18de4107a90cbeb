"""Tables of all commands."""

from __future__ import annotations

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from typing_extensions import override


class FittingTable(Table):
    """A table that becomes a list, a line for each ``column value``, if the terminal is too narrow for it."""

    @override
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if Measurement.get(console, options.update(max_width=1 << 16), self).minimum <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        for first, *others in zip(*(column.cells for column in self.columns), strict=True):
            yield first
            for column, cell in zip(self.columns[1:], others, strict=True):
                if str(cell):
                    yield Text.assemble("  ", (str(column.header), "dim"), "  ", cell)


def make_table(*columns: str, left: int = 1) -> Table:
    """An empty table; the first ``left`` columns are text, the others numbers."""
    table = FittingTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    return table
