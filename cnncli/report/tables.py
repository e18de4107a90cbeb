"""Tables of the commands that look: inspect, eval, predict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cnncli.errors import printable
from cnncli.report.console import bytes_text, count_text

if TYPE_CHECKING:
    from cnncli.metrics import Result

MAX_ROWS = 1_000  # layers: Rich takes half a millisecond for each; of more, the first and the last half of these
MAX_CLASSES, WORST = 1_000, 20  # classes in a table of all; of more, so many of the worst
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


def table(*columns: str, left: int = 1) -> Table:
    """An empty table; the first ``left`` columns are text, the others numbers."""
    made = FittingTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < left else "right", overflow="fold")
    return made


def inspect_table(document: dict[str, Any]) -> RenderableType:
    """``cnn inspect``'s document as a table, a row per layer and one for the sum."""
    made = table("layer", "kind", "output", "parameters", "mult-adds", "memory", "sees", left=2)
    made.add_row("input", "", _sizes(document["input"]), "", "", "", "")
    layers = document["layers"]
    left_out = range(MAX_ROWS // 2, len(layers) - MAX_ROWS // 2) if len(layers) > MAX_ROWS else range(0)
    for index, layer in enumerate(layers):
        if index in left_out:
            if index == left_out[0]:
                made.add_row(Text(f"... {len(left_out):,} more: --json has all"))
            continue
        made.add_row(
            Text(layer["name"]), layer["kind"], _sizes(layer["output_shape"]),
            f"{layer['params']:,}" if layer["params"] else "",
            count_text(layer["macs"]) if layer["macs"] else "", bytes_text(layer["activation_bytes"]),
            _sizes(layer["receptive_field"]),
        )  # fmt: skip
    totals = document["totals"]
    made.add_section()
    made.add_row(
        "total", "", "", f"{totals['params']:,}", count_text(totals["macs"]), bytes_text(totals["activation_bytes"]), ""
    )
    return made


def inspect_legend(document: dict[str, Any]) -> str:
    """What the columns mean, in one line."""
    totals = document["totals"]
    frozen = totals["params"] - totals["trainable_params"]
    fixed = f"; {frozen:,} of the parameters are not trained" if frozen else ""
    return (
        f"mult-adds and memory (outputs, float32) are per example; sees: pixels of the input behind one output{fixed}"
    )


def class_table(document: dict[str, Any]) -> RenderableType:
    """Precision, recall and F1 of every class that has images; of very many classes those with the lowest F1."""
    made = table("class", "precision", "recall", "F1", "images")
    rows = document["per_class"]
    if len(rows) > MAX_CLASSES:
        rows = sorted((row for row in rows if row["support"]), key=lambda row: row["f1"])[:WORST]
        made.title = f"the {len(rows)} worst of {len(document['per_class']):,} classes; --json gives all"
    for row in rows:
        figures = (f"{row[key]:.4f}" if row["support"] else "-" for key in ("precision", "recall", "f1"))
        made.add_row(Text(printable(row["class"])), *figures, f"{row['support']:,}")
    return made


def confusion_table(classes: Sequence[str], result: Result) -> RenderableType:
    """True classes down, predicted across; of many classes the ten commonest mistakes."""
    confusion = result.confusion if len(classes) <= MAX_CONFUSION else None
    if confusion is None:
        return _mistakes(classes, result.mistakes(10))
    made = table("true \\ said", *(printable(name)[:10] for name in classes))
    for i, (name, row) in enumerate(zip(classes, confusion, strict=True)):
        cells = [
            Text(str(n) if n else "·", style="bold" if i == j else "red" if n else "dim") for j, n in enumerate(row)
        ]
        made.add_row(Text(printable(name)), *cells)
    return made


def _mistakes(classes: Sequence[str], mistakes: Sequence[tuple[int, int, int]]) -> RenderableType:
    made = table("true", "said", "images", left=2)
    for true, said, count in mistakes:
        made.add_row(Text(printable(classes[true])), Text(printable(classes[said])), str(count))
    return made


def prediction_table(documents: Iterable[dict[str, Any]]) -> Table:
    """The likeliest classes of every input, with a bar."""
    made = table("input", "class", "probability", "", left=2)
    made.columns[3].justify = "left"
    for document in documents:
        for place, (name, probability) in enumerate(document["probabilities"].items()):
            bar = Text("█" * round(20 * probability), style="green" if place == 0 else "dim")
            style = "bold" if place == 0 else "dim"
            called = Text(printable(document.get("file") or document["values"]) if place == 0 else "")
            made.add_row(called, Text(printable(name), style=style), Text(f"{probability:.4f}", style=style), bar)
    return made


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
