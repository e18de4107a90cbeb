"""Handwritten digits that ship with this package."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from cnncli.data.sources.source import Progress, Source
from cnncli.data.splits import SPLITS, ArraySplit, Dataset, SplitName
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape

with lazy_imports():
    import numpy as np

DIGIT_NAMES = tuple("0123456789")


class Digits(Source):
    """Handwritten digits, 8x8 grey, 1,797 images; ships with the package, nothing is fetched.

    Image (8, 8, 1) uint8: the file's 0 to 16 as round(v * 255 / 16). Ten classes, "0" to "9". Test split: within each
    class every fifth image (index % 5 == 4) in the file's order: 1,442 train, 355 test.
    Source: UCI Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak 1998, CC BY 4.0.

    Example: `digits`
    """

    shape: ClassVar[Shape | None] = (8, 8, 1)
    names: ClassVar[tuple[str, ...]] = DIGIT_NAMES

    @override
    def load(self, folder: Path | None, progress: Progress, wanted: Collection[SplitName] = SPLITS) -> Dataset:
        rows = np.loadtxt(Path(__file__).with_name("digits.csv.gz"), delimiter=",", dtype=np.int32)  # (1797, 65)
        labels = rows[:, 64]
        images = np.round(rows[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        test = np.zeros(len(rows), bool)
        for digit in range(10):
            test[np.flatnonzero(labels == digit)[4::5]] = True
        everything = ArraySplit(images, labels)
        return Dataset(self.names, everything.take(~test), test=everything.take(test))
