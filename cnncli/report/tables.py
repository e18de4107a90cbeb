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
from cnncli.report.console import bytes_text, count_text

MAX_ROWS = 1_000  # layers: Rich takes half a millisecond for each; of more, the first and the last half of these
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
    """Precision, recall and F1 of every class."""
    made = table("class", "precision", "recall", "F1", "images")
    for row in document["per_class"]:
        figures = (f"{row[key]:.4f}" for key in ("precision", "recall", "f1"))
        made.add_row(Text(printable(row["class"])), *figures, f"{row['support']:,}")
    return made


def confusion_table(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> RenderableType:
    """True classes down, predicted across; of many classes the ten commonest mistakes."""
    if len(classes) > MAX_CONFUSION:
        return _mistakes(classes, confusion)
    made = table("true \\ said", *(printable(name)[:10] for name in classes))
    for i, (name, row) in enumerate(zip(classes, confusion, strict=True)):
        cells = [
            Text(str(n) if n else "·", style="bold" if i == j else "red" if n else "dim") for j, n in enumerate(row)
        ]
        made.add_row(Text(printable(name)), *cells)
    return made


def _mistakes(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> RenderableType:
    pairs = [(n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
    made = table("true", "said", "images", left=2)
    for count, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:10]:
        made.add_row(Text(printable(classes[i])), Text(printable(classes[j])), str(count))
    return made


def prediction_table(documents: Sequence[dict[str, Any]], most: int = 3) -> RenderableType:
    """The likeliest classes of every file, with a bar."""
    made = table("file", "class", "probability", "", left=2)
    made.columns[3].justify = "left"
    for document in documents:
        ranked = sorted(document["probabilities"].items(), key=lambda item: -item[1])[:most]
        for place, (name, probability) in enumerate(ranked):
            bar = Text("█" * round(20 * probability), style="green" if place == 0 else "dim")
            style = "bold" if place == 0 else "dim"
            file = Text(printable(document["file"]) if place == 0 else "")
            made.add_row(file, Text(printable(name), style=style), Text(f"{probability:.4f}", style=style), bar)
    return made


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
