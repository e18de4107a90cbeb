"""What a data source gives: images and labels, split, with the names of the classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from cnncli.spec import Spec

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]
Progress = Callable[[str, int, int], None]  # (what, done, total): bytes or files
SplitName = Literal["test", "val", "train"]
SPLITS: tuple[SplitName, ...] = ("test", "val", "train")  # the first that is there is evaluated unless one is asked for


@dataclass(frozen=True)
class Split:
    """``images`` (N, H, W, C) or (N, length, C) or (N, units), uint8 or float32; ``labels`` (N,) int32."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Split:
        """The examples at ``rows``, in that order."""
        return Split(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class Dataset:
    """Three different sets of data. ``val`` is None where the source has none of its own: it is carved from train.

    ``notes``: what the user should know of how the data was read.
    """

    classes: tuple[str, ...]
    train: Split
    val: Split | None = None
    test: Split | None = None
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[SplitName, Split]:
        """Those that are there, in the order of ``SPLITS``."""
        return {name: split for name in SPLITS if (split := getattr(self, name)) is not None}

    def fingerprint(self, *names: SplitName) -> str:
        """SHA-256 over class names, shapes, types and every byte: the same data, the same text.

        Of everything, or of the named splits alone.
        """
        import numpy as np

        digest = hashlib.sha256(repr(self.classes).encode())
        for split in (getattr(self, name) for name in names or ("train", "val", "test")):
            for array in (split.images, split.labels) if split is not None else ():
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


class Source(Spec):
    """Where images come from. What is known before reading lets a config be checked without data."""

    family: ClassVar[str] = "data source"

    def image_shape(self) -> Shape | None:
        """Shape of one image as stored, where it is known without reading anything."""
        return None

    def class_count(self) -> int | None:
        """Number of classes, where it is known without reading anything."""
        return None

    def load(self, folder: Path | None, progress: Progress) -> Dataset:
        """Read everything. ``folder``: the user's ``data.dir``. DataError names the file that is wrong."""
        raise TypeError(f"{self.kind} loads nothing")

    def load_split(self, split: SplitName, folder: Path | None, progress: Progress) -> Dataset:
        """At least what ``split`` is made of. Other splits may be empty, where reading them would take long."""
        return self.load(folder, progress)
