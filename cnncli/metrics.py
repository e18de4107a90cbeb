"""What is said of a classifier: loss, accuracy, confusion, per-class figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_MATRIX = 2_000  # classes; of more, the confusion matrix is left out


@dataclass(frozen=True)
class Result:
    """``loss``: mean per example. Of each example (N,): its class, the class ``predicted``, and its class's place.

    ``places``: how many classes the network finds likelier than the right one, 0 where it is right.
    """

    loss: float
    class_count: int
    labels: np.ndarray
    predicted: np.ndarray
    places: np.ndarray

    @property
    def examples(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def accuracy(self) -> float:
        """Share of images whose class is predicted, 0 of none."""
        return _ratio((self.labels == self.predicted).sum(), self.examples)

    def top_accuracy(self, k: int) -> float:
        """Share of images whose class is among the ``k`` likeliest."""
        return _ratio((self.places < k).sum(), self.examples)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images."""
        hits, truth, _ = self._counts()
        return _ratio((hits[truth > 0] / truth[truth > 0]).sum(), (truth > 0).sum())

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have images or were predicted."""
        hits, truth, said = self._counts()
        both = truth + said
        return _ratio((2 * hits[both > 0] / both[both > 0]).sum(), (both > 0).sum())

    @property
    def confusion(self) -> np.ndarray | None:
        """Counts (C, C) int64, [true class][predicted class]; None above ``MAX_MATRIX`` classes."""
        if self.class_count > MAX_MATRIX:
            return None
        return np.bincount(self._pairs(), minlength=self.class_count**2).reshape(self.class_count, self.class_count)

    def mistakes(self, most: int) -> list[tuple[int, int, int]]:
        """The commonest (true class, predicted class, images) of different classes."""
        pairs, counts = np.unique(self._pairs()[self.labels != self.predicted], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:most]
        return [(*divmod(int(pairs[i]), self.class_count), int(counts[i])) for i in order]

    @property
    def figures(self) -> dict[str, float]:
        """Loss and accuracy, as metrics.jsonl holds them."""
        return {"loss": self.loss, "accuracy": self.accuracy}

    def per_class(self, classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Precision, recall, F1 (0 where undefined) and support of every class."""
        hits, truth, said = self._counts()
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

    def _pairs(self) -> np.ndarray:
        """One number for each (true, predicted)."""
        return self.labels.astype(np.int64) * self.class_count + self.predicted

    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each class (C,): images predicted rightly, images, images predicted as it."""
        right = self.labels[self.labels == self.predicted]
        hits, truth, said = (np.bincount(x, minlength=self.class_count) for x in (right, self.labels, self.predicted))
        return hits, truth, said


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else 0.0
