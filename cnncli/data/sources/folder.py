"""Images in folders, one folder for each class."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import override

from cnncli.data.sources.folder_index import read_index
from cnncli.data.sources.source import Progress, Source
from cnncli.data.splits import SPLITS, ArraySplit, Dataset, SplitName, splits_to_read
from cnncli.errors import DataError, Problem
from cnncli.lazy import lazy_imports
from cnncli.machine import available_cores, require_memory
from cnncli.paths import PathText, user_path
from cnncli.safe_files import data_error
from cnncli.sliding import Shape
from cnncli.spec import pair
from cnncli.text import times

with lazy_imports():
    import numpy as np

    from cnncli.data import images

if TYPE_CHECKING:
    from jaxtyping import UInt8

BLOCK = 16  # images a thread decodes before it reports
SMALL = 6_000  # bytes of a file whose decoding takes no longer than handing it to a thread
LISTED = 10
Pixels = Annotated[int, Field(ge=1, le=1 << 14)]


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("channels", "expected 1 or 3, got {got}", {"got": str(value).lower()})
    return value


class Folder(Source):
    """JPEG and PNG files in folders: `train/<class>/*`, with `val/` and `test/` alike if there are any, or `<class>/*`.

    `training/`, `valid/` and `validation/` are known too, in upper or lower case. Image (*size, channels) uint8.
    Classes are the folders' names, sorted. Without `size` all images must have one size; with it they are resized as
    they are read: bilinear, antialiased, the aspect ratio not kept. Without a `test/` folder a share of each class is
    split off as the test split, by a hash of the file names: it stays the same when files are added. Hidden files and
    those with other suffixes are ignored. How 16-bit, palette, CMYK, transparent and rotated images are read: see
    cnncli/data/images.py. Source: the layout of torchvision's ImageFolder and of Keras.

    Example: `folder: {path: pets, size: [64, 64]}`
    """

    shorthand: ClassVar[str | None] = "path"
    aliases: ClassVar[tuple[str, ...]] = ("image_folder", "imagefolder", "directory", "images", "image_dataset")

    path: PathText = Field(description="the folder that holds train/, or the class folders")
    size: pair(Pixels) | None = Field(None, description="resize to this: a number or [height, width]")  # type: ignore[valid-type]
    channels: Annotated[Literal[1, 3], BeforeValidator(_not_bool)] = Field(3, description="1: grey, 3: RGB")
    test: float | None = Field(
        None, ge=0, lt=1, description="share to split off as test split; default 0.1 without train/, else 0"
    )
    any_case: bool = Field(
        True, description="whether Train/, training/ and TEST/ are splits too; false in runs from before they were"
    )

    @override
    def image_shape(self) -> Shape | None:
        return (*self.size, self.channels) if self.size else None

    @override
    def load(self, folder: Path | None, progress: Progress, wanted: Collection[SplitName] = SPLITS) -> Dataset:
        root = user_path(self.path)
        index = read_index(root, self.test, self.any_case)
        needed = splits_to_read(wanted, own_val=bool(index.splits["val"]))
        examples = [example for name, part in index.splits.items() if name in needed for example in part]
        pixels = decode_all(root, [path for path, _ in examples], self.channels, self.size, progress)
        everything = ArraySplit(pixels, np.array([label for _, label in examples], np.int32))
        splits: dict[SplitName, ArraySplit | None] = {}
        start = 0
        for name, part in index.splits.items():
            rows = slice(start, start := start + len(part) * (name in needed))
            splits[name] = everything.take(rows) if part else None
        train = splits["train"]
        assert train is not None  # every class folder holds an image
        return Dataset(index.classes, train, splits["val"], splits["test"], index.notes)


def decode_all(
    root: Path, paths: Sequence[Path], channels: int, size: tuple[int, int] | None, progress: Progress
) -> UInt8[np.ndarray, "N H W C"]:
    """All images as one array, decoded by as many threads as there are cores if they are large."""
    shape, example = ((*size, channels), None) if size else first_shape(paths, channels)
    take = f"{len(paths):,} images of {times(shape)}"
    require_memory(len(paths) * math.prod(shape), root, take, "Try a smaller data.source.folder.size.")
    pixels = np.empty((len(paths), *shape), np.uint8)
    bad: dict[int, Problem] = {}

    def decode_rows(rows: range) -> int:
        for row in rows:
            try:
                image = images.decode(paths[row], channels, size)
            except DataError as error:
                bad[row] = error.problems[0]
                continue
            if image.shape != shape:
                raise _two_sizes(paths[row], image.shape, example, shape)
            pixels[row] = image
        return len(rows)

    _in_blocks(decode_rows, len(paths), _threads(paths), progress)
    if bad:
        raise _unreadable([bad[row] for row in sorted(bad)])
    return pixels


def _in_blocks(work: Callable[[range], int], count: int, threads: int, progress: Progress) -> None:
    """Call ``work`` on all rows, a block at a time, and report after each."""
    blocks = [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    pool = ThreadPoolExecutor(threads, "decode") if threads > 1 else None
    done = 0
    try:
        for decoded in (pool.map if pool else map)(work, blocks):
            done += decoded
            progress("decoding images", done, count)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


def _threads(paths: Sequence[Path]) -> int:
    """One for small files, which more threads only slow down (measured: 55 against 86 us an image of 1 kB)."""
    sizes = [os.path.getsize(path) for path in paths[:LISTED] if os.path.exists(path)]
    return min(32, available_cores()) if sum(sizes) > SMALL * len(sizes) else 1


def first_shape(paths: Sequence[Path], channels: int) -> tuple[Shape, Path]:
    """Shape of the first image that can be read, and its file."""
    problems = []
    for path in paths[:LISTED]:
        try:
            return images.decode(path, channels).shape, path
        except DataError as error:
            problems += error.problems
    raise _unreadable(problems)


def _two_sizes(path: Path, shape: Shape, first: Path | None, due: Shape) -> DataError:
    return data_error(path, f"is {times(shape[:2])}, {first} is {times(due[:2])} (height x width)",
                      f"Resize all as they are read: data.source.folder.size: [{due[0]}, {due[1]}].")  # fmt: skip


def _unreadable(problems: list[Problem]) -> DataError:
    """The first ten problems, and how many more there are."""
    more = len(problems) - LISTED
    return DataError(problems[:LISTED] + ([Problem(f"and {more:,} more files cannot be read")] if more > 0 else []))
