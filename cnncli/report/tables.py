"""Tables of the commands that look: inspect, eval, predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cnncli.errors import printable

MAX_CONFUSION = 20  # classes; a larger matrix is told by its worst confusions


class FittingTable(Table):
    """A table that is written as a list, ``column value`` line by line, where it is too wide for the terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table or the list."""
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


def class_table(document: dict[str, Any]) -> RenderableType:
    """Precision, recall and F1 of every class."""
    table = make_table("class", "precision", "recall", "F1", "images")
    for row in document["per_class"]:
        figures = (f"{row[key]:.4f}" for key in ("precision", "recall", "f1"))
        table.add_row(Text(printable(row["class"])), *figures, f"{row['support']:,}")
    return table


def confusion_table(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> RenderableType:
    """True classes down, predicted across; of many classes the ten commonest mistakes."""
    if len(classes) > MAX_CONFUSION:
        return _mistakes(classes, confusion)
    table = make_table("true \\ said", *(printable(name)[:10] for name in classes))
    for i, (name, row) in enumerate(zip(classes, confusion, strict=True)):
        cells = [
            Text(str(n) if n else "·", style="bold" if i == j else "red" if n else "dim") for j, n in enumerate(row)
        ]
        table.add_row(Text(printable(name)), *cells)
    return table


def _mistakes(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> RenderableType:
    pairs = [(n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
    table = make_table("true", "said", "images", left=2)
    for count, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:10]:
        table.add_row(Text(printable(classes[i])), Text(printable(classes[j])), str(count))
    return table


def prediction_table(documents: Sequence[dict[str, Any]], most: int = 3) -> RenderableType:
    """The likeliest classes of every file, with a bar."""
    table = make_table("file", "class", "probability", "", left=2)
    table.columns[3].justify = "left"
    for document in documents:
        ranked = sorted(document["probabilities"].items(), key=lambda item: -item[1])[:most]
        for place, (name, probability) in enumerate(ranked):
            bar = Text("█" * round(20 * probability), style="green" if place == 0 else "dim")
            style = "bold" if place == 0 else "dim"
            file = Text(printable(document["file"]) if place == 0 else "")
            table.add_row(file, Text(printable(name), style=style), Text(f"{probability:.4f}", style=style), bar)
    return table
