"""Data on the device, and which images make up each batch.

The order is a pure function of (seed, epoch), so that any step of any run can be named and repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cnncli.data.base import Dataset, Split


@dataclass(frozen=True)
class Order:
    """Which of ``count`` images make up each batch of ``batch_size``. Each epoch is one pass over all of them.

    The last batch of an epoch is filled up with the first images of the same epoch's permutation.
    """

    count: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a pass."""
        return -(-self.count // self.batch_size)

    def epoch(self, epoch: int) -> np.ndarray:
        """Rows of every batch of an epoch (counted from 0), (steps, batch_size) int32."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count).astype(np.int32)
        return np.resize(order, (self.steps_per_epoch, self.batch_size))

    def steps(self, start: int, stop: int) -> np.ndarray:
        """Rows of steps start .. stop - 1 of the whole training, all within one epoch."""
        epoch, first = divmod(start, self.steps_per_epoch)
        return self.epoch(epoch)[first : first + stop - start]


def carve(dataset: Dataset, share: float, seed: int, half_is_one: bool = True) -> Dataset:
    """Set ``share`` of the training images aside for validation, class by class, and leave at least one of each.

    Nothing is set aside where there is a validation split, or where the classes are too small for ``share``.
    ``half_is_one``: a class whose share is half an image gives one, else none, as Python rounds: of classes of 5 and 6
    images a share of 0.1 then takes 0 and 1.
    """
    if dataset.val is not None or not share:
        return dataset
    labels = dataset.train.labels
    shuffled = np.random.default_rng((seed, 0xC0FFEE)).permutation(len(labels))
    counts = np.bincount(labels, minlength=len(dataset.classes))
    by_class = np.split(shuffled[np.argsort(labels[shuffled], kind="stable")], np.cumsum(counts)[:-1])
    due = counts * share
    wanted = np.where(half_is_one & (due == 0.5), 1, np.round(due)).astype(int)
    aside = [rows[: min(count, max(len(rows) - 1, 0))] for rows, count in zip(by_class, wanted, strict=True)]
    chosen = np.zeros(len(labels), bool)
    chosen[np.concatenate(aside)] = True
    if not chosen.any():
        return dataset
    train, val = (dataset.train.take(np.flatnonzero(mask)) for mask in (~chosen, chosen))
    return replace(dataset, train=train, val=val)


def padded_batches(split: Split, batch_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and a mask (1: counts) for every image once, in order; the last batch repeats row 0 with mask 0."""
    batches = []
    for start in range(0, len(split), batch_size):
        rows = np.arange(start, start + batch_size)
        mask = rows < len(split)
        batches.append((np.where(mask, rows, 0).astype(np.int32), mask))
    return batches
