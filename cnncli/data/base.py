"""What a data source gives: images and labels, split, with the names of the classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from cnncli.spec import Spec

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]
Progress = Callable[[str, int, int], None]  # (what, done, total): bytes or files


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
    """Three different sets of data. ``val`` is None where the source has none of its own: it is carved from train."""

    classes: tuple[str, ...]
    train: Split
    val: Split | None = None
    test: Split | None = None

    def fingerprint(self) -> str:
        """SHA-256 over class names, shapes, types and every byte: the same data, the same text."""
        import numpy as np

        digest = hashlib.sha256(repr(self.classes).encode())
        for split in (self.train, self.val, self.test):
            for array in (split.images, split.labels) if split else ():
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


class Source(Spec):
    """Where images come from. What is known before reading lets a config be checked without data."""

    family: ClassVar[str] = "data source"
    paths: ClassVar[tuple[str, ...]] = ()  # fields that are paths

    def located(self) -> Self:
        """The same source with absolute paths, so that it means the same from any folder."""
        given = {name: getattr(self, name) for name in self.paths if getattr(self, name)}
        return self.model_copy(update={name: str(Path(value).expanduser().absolute()) for name, value in given.items()})

    def image_shape(self) -> Shape | None:
        """Shape of one image as stored, where it is known without reading anything."""
        return None

    def class_count(self) -> int | None:
        """Number of classes, where it is known without reading anything."""
        return None

    def load(self, folder: Path | None, progress: Progress) -> Dataset:
        """Read everything. ``folder``: the user's ``data.dir``. DataError names the file that is wrong."""
        raise TypeError(f"{self.kind} loads nothing")
