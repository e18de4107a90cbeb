"""Images in folders, one folder for each class."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from pydantic_core import PydanticCustomError

from cnncli.data.base import Dataset, Progress, Shape, Source, Split, SplitName
from cnncli.data.files import PathText, data_error, need_memory, user_path
from cnncli.data.images import decode
from cnncli.data.tree import Example, read_tree
from cnncli.errors import DataError, Problem
from cnncli.spec import check, pair

if TYPE_CHECKING:
    import numpy as np

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
    carved off as the test split, by a hash of the file names: it stays the same when files are added. Hidden files and
    those with other suffixes are ignored. How 16-bit, palette, CMYK, transparent and rotated images are read: see
    cnncli/data/images.py. Source: the layout of torchvision's ImageFolder and of Keras.

    Example: `folder: {path: pets, size: [64, 64]}`
    """

    shorthand: ClassVar[str | None] = "path"
    aliases: ClassVar[tuple[str, ...]] = ("image_folder", "imagefolder", "directory", "images", "image_dataset")

    path: PathText = Field(description="the folder that holds train/, or the class folders")
    size: pair(Pixels) | None = Field(None, description="resize to this: a number or [height, width]")  # type: ignore[valid-type]
    channels: Annotated[Literal[1, 3], check(_not_bool)] = Field(3, description="1: grey, 3: RGB")
    test: float | None = Field(
        None, ge=0, lt=1, description="share to carve off as test split; default 0.1 without train/, else 0"
    )
    any_case: bool = Field(
        True, description="whether Train/, training/ and TEST/ are splits too; false in runs from before they were"
    )

    def image_shape(self) -> Shape | None:
        """Known where ``size`` is given."""
        return (*self.size, self.channels) if self.size else None

    def load(self, folder: Path | None, progress: Progress) -> Dataset:
        """List, decode, split. All that is wrong with the files is found here."""
        return self._load(("train", "val", "test"), progress)

    def load_split(self, split: SplitName, folder: Path | None, progress: Progress) -> Dataset:
        """Decode that split alone."""
        return self._load((split,), progress)

    def _load(self, wanted: Sequence[SplitName], progress: Progress) -> Dataset:
        """Splits that are not ``wanted`` are empty. Validation images may have to be carved from the training's."""
        import numpy as np

        root = user_path(self.path)
        tree = read_tree(root, self.test, self.any_case)
        parts: dict[SplitName, list[Example]] = {"train": tree.train, "val": tree.val, "test": tree.test}
        read = [name for name in parts if name in wanted or (name == "train" and "val" in wanted and not tree.val)]
        examples = [example for name in read for example in parts[name]]
        images = decode_all(root, [path for path, _ in examples], self.channels, self.size, progress)
        labels = np.array([label for _, label in examples], np.int32)
        splits: dict[SplitName, Split | None] = {}
        start = 0
        for name, part in parts.items():
            end = start + len(part) * (name in read)
            splits[name] = Split(images[start:end], labels[start:end]) if part else None
            start = end
        train = splits["train"]
        assert train is not None  # every class folder holds an image
        return Dataset(tree.classes, train, splits["val"], splits["test"], tree.notes)


def decode_all(
    root: Path, paths: Sequence[Path], channels: int, size: tuple[int, int] | None, progress: Progress
) -> np.ndarray:
    """All images as one array (N, H, W, channels), decoded by as many threads as there are cores if they are large."""
    import numpy as np

    shape, example = ((*size, channels), None) if size else first_shape(paths, channels)
    take = f"{len(paths):,} images of {'x'.join(map(str, shape))}"
    need_memory(len(paths) * math.prod(shape), root, take, "Try a smaller data.source.folder.size.")
    images = np.empty((len(paths), *shape), np.uint8)
    bad: dict[int, Problem] = {}

    def work(rows: range) -> int:
        for row in rows:
            try:
                image = decode(paths[row], channels, size)
            except DataError as error:
                bad[row] = error.problems[0]
                continue
            if image.shape != shape:
                raise _two_sizes(paths[row], image.shape, example, shape)
            images[row] = image
        return len(rows)

    _in_blocks(work, len(paths), _workers(paths), progress)
    if bad:
        raise _unreadable([bad[row] for row in sorted(bad)])
    return images


def _in_blocks(work: Callable[[range], int], count: int, workers: int, progress: Progress) -> None:
    """Call ``work`` on all rows, a block at a time, and report after each."""
    from concurrent.futures import ThreadPoolExecutor

    blocks = [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    pool = ThreadPoolExecutor(workers, "decode") if workers > 1 else None
    done = 0
    try:
        for decoded in (pool.map if pool else map)(work, blocks):
            done += decoded
            progress("decoding images", done, count)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


def _workers(paths: Sequence[Path]) -> int:
    """One for small files, which threads would only slow down (measured: 55 against 86 us an image of 1 kB)."""
    sizes = [os.path.getsize(path) for path in paths[:LISTED] if os.path.exists(path)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(32, cores) if sum(sizes) > SMALL * len(sizes) else 1


def first_shape(paths: Sequence[Path], channels: int) -> tuple[Shape, Path]:
    """Shape of the first image that can be read, and its file."""
    problems = []
    for path in paths[:LISTED]:
        try:
            return decode(path, channels).shape, path
        except DataError as error:
            problems += error.problems
    raise _unreadable(problems)


def _two_sizes(path: Path, shape: Shape, first: Path | None, due: Shape) -> DataError:
    return data_error(path, f"is {shape[0]}x{shape[1]}, {first} is {due[0]}x{due[1]} (height x width)",
                      f"Resize all as they are read: data.source.folder.size: [{due[0]}, {due[1]}].")  # fmt: skip


def _unreadable(problems: list[Problem]) -> DataError:
    """Up to ten of them, and how many more there are."""
    more = len(problems) - LISTED
    return DataError(problems[:LISTED] + ([Problem(f"and {more:,} more files cannot be read")] if more > 0 else []))
