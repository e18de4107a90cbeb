"""Checks of labels and class names that a data source has read."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.safe_files import data_error

if TYPE_CHECKING:
    import numpy as np

MAX_CLASSES = 100_000


def class_name_problem(name: str) -> str:
    """What is wrong with a class name, or "". Names reach terminals, HTML and JSON: no control characters."""
    if not name.strip():
        return "is empty"
    bad = next((char for char in name if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")), "")
    return f"holds the control character U+{ord(bad):04X}" if bad else ""


def check_classes(names: Sequence[str], path: Path) -> None:
    """At least two classes, all with different, printable names; else DataError."""
    if len(names) < 2:
        raise data_error(path, f"has {len(names)} class{'es' * (not names)}{': ' * len(names)}{', '.join(names)}",
                         "A classifier needs two or more.")  # fmt: skip
    for name in names:
        if problem := class_name_problem(name):
            raise data_error(path, f"class name {name!r} {problem}", "Rename it.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise data_error(path, f"class name {twice!r} is there twice")


def check_labels(labels: np.ndarray, count: int, classes: int, path: Path) -> None:
    """As many labels as images, each in 0 .. classes - 1; else DataError."""
    if len(labels) != count:
        raise data_error(path, f"holds {len(labels):,} labels for {count:,} images")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise data_error(path, f"label {labels[row]} at row {row:,} is out of range",
                         f"There are {classes} classes: 0 to {classes - 1}.")  # fmt: skip


def numbered_classes(labels: np.ndarray, path: Path) -> tuple[str, ...]:
    """The names "0", "1", ... up to the largest training label."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MAX_CLASSES:
        raise data_error(path, f"label {low if low < 0 else high} is out of range",
                         f"Labels are whole numbers from 0 to {MAX_CLASSES - 1:,}.")  # fmt: skip
    return tuple(str(label) for label in range(high + 1))
