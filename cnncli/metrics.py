"""What is said of a classifier: loss, accuracy, confusion, per-class figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Result:
    """``loss``: mean per example. ``confusion``: counts, [true class][predicted class]."""

    loss: float
    confusion: np.ndarray

    @property
    def examples(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of images on the diagonal, 0 of none."""
        return _ratio(np.trace(self.confusion), self.examples)

    @property
    def figures(self) -> dict[str, float]:
        """Loss and accuracy, as metrics.jsonl holds them."""
        return {"loss": self.loss, "accuracy": self.accuracy}

    def per_class(self, classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Precision, recall, F1 (0 where undefined) and support of every class."""
        hits, truth, said = np.diag(self.confusion), self.confusion.sum(1), self.confusion.sum(0)
        return [
            {
                "class": name,
                "precision": _ratio(hits[i], said[i]),
                "recall": _ratio(hits[i], truth[i]),
                "f1": _ratio(2 * hits[i], said[i] + truth[i]),
                "support": int(truth[i]),
            }
            for i, name in enumerate(classes)
        ]


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else 0.0
