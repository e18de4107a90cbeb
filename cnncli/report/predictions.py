"""``cnn predict``: the likeliest classes of every input, as a table or as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from cnncli.errors import printable
from cnncli.report.tables import make_table


def rendered(documents: Iterable[dict[str, Any]]) -> Table:
    """A row per class that a document names, with a bar."""
    table = make_table("input", "class", "probability", "", left=2)
    table.columns[3].justify = "left"
    for document in documents:
        for rank, (name, probability) in enumerate(document["probabilities"].items(), 1):
            name_style, bar_style = ("bold", "green") if rank == 1 else ("dim", "dim")
            cells = Text(printable(name), name_style), Text(f"{probability:.4f}", name_style)
            bar = Text("█" * round(20 * probability), bar_style)
            table.add_row(Text(_name(document) if rank == 1 else ""), *cells, bar)
    return table


def print_csv(documents: Iterable[dict[str, Any]]) -> None:
    """Print a line for each class that a document names, or for its error, one document after the other."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("file", "rank", "class", "probability", "error"))
    for document in documents:
        name, probabilities = _name(document), document.get("probabilities", {})
        for rank, (class_name, probability) in enumerate(probabilities.items(), 1):
            writer.writerow((name, rank, printable(class_name), probability, ""))
        if not probabilities:
            writer.writerow((name, "", "", "", document["error"]))


def _name(document: dict[str, Any]) -> str:
    return printable(document.get("file") or document["values"])
