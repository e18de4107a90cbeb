"""What a data source is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import ClassVar

from cnncli.data.splits import SPLITS, Dataset, SplitName
from cnncli.sliding import Shape
from cnncli.spec import Spec

Progress = Callable[[str, int, int], None]  # (what, done, total): bytes or files


class Source(Spec):
    """Where images come from. What is known before reading lets a config be checked without data."""

    family: ClassVar[str] = "data source"
    # Of a data set that is always the same: shape of one image, and the classes.
    shape: ClassVar[Shape | None] = None
    names: ClassVar[tuple[str, ...]] = ()

    def image_shape(self) -> Shape | None:
        """Shape of one image as stored, or None where it takes reading to know it."""
        return self.shape

    def class_count(self) -> int | None:
        """Number of classes, or None where it takes reading to know it."""
        return len(self.names) or None

    def load(self, folder: Path | None, progress: Progress, wanted: Collection[SplitName] = SPLITS) -> Dataset:
        """Read what the ``wanted`` splits are made of; other splits may be there without their images.

        ``folder``: the user's ``data.dir``. DataError names the file that is wrong.
        """
        raise TypeError(f"{self.kind} loads nothing")
