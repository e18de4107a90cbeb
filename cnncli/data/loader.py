"""Which images make up each batch.

The order is a pure function of (seed, epoch), so that any step of any run can be named and repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


@dataclass(frozen=True)
class Order:
    """The batches of a training on ``count`` images. Each epoch is one pass over all of them.

    The last batch of an epoch is filled up with the first images of the same epoch's permutation.
    """

    count: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass."""
        return -(-self.count // self.batch_size)

    def epoch(self, epoch: int) -> Int[np.ndarray, "steps batch_size"]:
        """Rows of every batch of an epoch (counted from 0), int32."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count).astype(np.int32)
        return np.resize(order, (self.steps_per_epoch, self.batch_size))

    def steps(self, start: int, stop: int) -> Int[np.ndarray, "steps batch_size"]:
        """Rows of steps start .. stop - 1, counted from the start of the training, all within one epoch."""
        epoch, first = divmod(start, self.steps_per_epoch)
        return self.epoch(epoch)[first : first + stop - start]


def padded_batches(count: int, batch_size: int) -> list[tuple[Int[np.ndarray, " B"], Bool[np.ndarray, " B"]]]:
    """Rows and mask of each batch of ``count`` images in order. The last one is filled with row 0, masked out."""
    batches = []
    for start in range(0, count, batch_size):
        rows = np.arange(start, start + batch_size)
        mask = rows < count
        batches.append((np.where(mask, rows, 0).astype(np.int32), mask))
    return batches
