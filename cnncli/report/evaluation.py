"""``cnn eval``: measures of every class, the confusion matrix, and the summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from cnncli.errors import printable
from cnncli.report.console import result as result_line
from cnncli.report.tables import make_table

if TYPE_CHECKING:
    from cnncli.metrics import Result

MAX_CLASSES, WORST = 1_000, 20  # rows of a table of all classes; of more classes only the worst
MAX_CONFUSION, MISTAKES = 20, 10  # classes of a confusion matrix; of more only the commonest mistakes


def rendered(document: dict[str, Any], result: Result, classes: Sequence[str]) -> Group:
    """The evaluation's document, with the confusion matrix of ``result``."""
    figures = f"{document['split']} accuracy {document['accuracy']:.2%}  (loss {document['loss']:.4f}, "
    more = f"balanced accuracy {document['balanced_accuracy']:.2%}, macro F1 {document['macro_f1']:.4f}"
    if document["top5_accuracy"] is not None:
        more += f", among the 5 likeliest classes {document['top5_accuracy']:.2%}"
    return Group(
        Text(printable(f"checkpoint  {document['checkpoint']}")),
        _class_table(document["per_class"]),
        _confusion_table(result, [printable(name) for name in classes]),
        result_line(f"{figures}{document['examples']:,} images)"),
        Text(more),
    )


def _class_table(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """Precision, recall and F1 of every class that has images; of very many classes those with the lowest F1."""
    table = make_table("class", "precision", "recall", "F1", "images")
    if len(rows) > MAX_CLASSES:
        worst = sorted((row for row in rows if row["support"]), key=lambda row: row["f1"])[:WORST]
        table.title = f"the {len(worst)} worst of {len(rows):,} classes; --json gives all"
        rows = worst
    for row in rows:
        figures = (f"{row[key]:.4f}" if row["support"] else "-" for key in ("precision", "recall", "f1"))
        table.add_row(Text(printable(row["class"])), *figures, f"{row['support']:,}")
    return table


def _confusion_table(result: Result, classes: Sequence[str]) -> RenderableType:
    """Rows are true classes, columns predicted ones; or the commonest mistakes of many classes."""
    if len(classes) > MAX_CONFUSION or result.confusion is None:
        table = make_table("true", "said", "images", left=2)
        for true, said, count in result.mistakes(MISTAKES):
            table.add_row(Text(classes[true]), Text(classes[said]), str(count))
        return table
    table = make_table("true \\ said", *(name[:10] for name in classes))
    for i, (name, row) in enumerate(zip(classes, result.confusion, strict=True)):
        cells = [
            Text(str(n) if n else "·", style="bold" if i == j else "red" if n else "dim") for j, n in enumerate(row)
        ]
        table.add_row(Text(name), *cells)
    return table
