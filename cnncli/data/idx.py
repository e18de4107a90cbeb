"""IDX, the file format of MNIST: a header with the shape, then unsigned bytes; gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cnncli.data.base import Dataset, Progress, Source, Split
from cnncli.data.files import (
    DEFLATE_RATIO,
    PathText,
    check_classes,
    check_labels,
    data_error,
    fill,
    need_memory,
    numbered_classes,
    open_regular,
    user_path,
)  # fmt: skip
from cnncli.spec import sequence

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 4 << 30
TYPES = {0x08: "unsigned bytes", 0x09: "signed bytes", 0x0B: "shorts", 0x0C: "ints", 0x0D: "floats", 0x0E: "doubles"}


def read_idx(path: Path, rank: int) -> np.ndarray:
    """The uint8 array of an IDX file with ``rank`` axes. Never reads more than the header promises, and one byte."""
    with open_regular(path) as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0, 2)
        limit = raw.tell() * (DEFLATE_RATIO if packed else 1)
        raw.seek(0)
        try:
            return _read(gzip.GzipFile(fileobj=raw) if packed else raw, path, rank, limit)
        except (OSError, EOFError, zlib.error) as error:
            raise data_error(path, f"is damaged: {error}", "Fetch it again.") from None


def _read(stream: BinaryIO | gzip.GzipFile, path: Path, rank: int, limit: int) -> np.ndarray:
    import numpy as np

    shape = _header(stream, path, rank)
    size = math.prod(shape)
    sizes = " x ".join(f"{n:,}" for n in shape)
    if not 0 < size <= MAX_BYTES:
        raise data_error(path, f"promises {sizes} = {size:,} bytes", f"Between 1 and {MAX_BYTES:,} can be read.")
    if size > limit:
        raise data_error(path, f"promises {sizes} = {size:,} bytes, it cannot hold more than {limit:,}",
                         "Fetch it again.")  # fmt: skip
    need_memory(size, path, "its contents")
    array = np.empty(size, np.uint8)
    got = fill(stream, array.data)
    if got < size or stream.read(1):
        held = f"{got:,}" if got < size else "more"
        raise data_error(path, f"promises {sizes} = {size:,} bytes and holds {held}", "Fetch it again.")
    return array.reshape(shape)


def _header(stream: BinaryIO | gzip.GzipFile, path: Path, rank: int) -> tuple[int, ...]:
    """The shape, after the magic number 00 00 08 rank."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        raise data_error(path, f"is not an IDX file: it begins with {magic.hex(' ') or 'nothing'}",
                         f"Expected 00 00 08 {rank:02x}.")  # fmt: skip
    if magic[2] != 0x08:
        raise data_error(path, f"holds {TYPES[magic[2]]}", "Only unsigned bytes (type 08) are read.")
    if magic[3] != rank:
        raise data_error(path, f"holds {magic[3]} axes where {rank} are due",
                         "Images have 3 axes (count, height, width), labels 1: are the two files swapped?")  # fmt: skip
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise data_error(path, f"ends inside its header, after {4 + len(sizes)} bytes", "Fetch it again.")
    return tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * rank, 4))


def read_pair(images: Path, labels: Path) -> Split:
    """A split from its two files: images (N, H, W, 1) uint8, labels (N,) int32, as many of each."""
    import numpy as np

    x, y = read_idx(images, 3), read_idx(labels, 1)
    if len(x) != len(y):
        raise data_error(labels, f"holds {len(y):,} labels, {images} holds {len(x):,} images")
    return Split(x[..., np.newaxis], y.astype(np.int32))  # (N, H, W, 1), (N,)


class Idx(Source):
    """Grey images in IDX files (the format of MNIST, EMNIST, KMNIST), unsigned bytes, gzipped or not.

    Image files have 3 axes (count, height, width) and give (H, W, 1); label files have 1. Test files may be left out.
    Classes are 0 up to the largest training label, or ``classes``. Source: yann.lecun.com/exdb/mnist.

    Example: `idx: {train_images: train-images.gz, train_labels: train-labels.gz}`
    """

    aliases: ClassVar[tuple[str, ...]] = ("ubyte", "emnist", "kmnist")

    train_images: PathText = Field(description="file of the training images")
    train_labels: PathText = Field(description="file of the training labels")
    test_images: PathText | None = Field(None, description="file of the test images")
    test_labels: PathText | None = Field(None, description="file of the test labels")
    classes: sequence(str) | None = Field(None, description="names of the classes, in label order")  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _both_or_none(self) -> Idx:
        if (self.test_images is None) != (self.test_labels is None):
            given, due = ("test_images", "test_labels")[:: 1 if self.test_images else -1]
            raise PydanticCustomError("idx_test", "{given} needs {due}", {"given": given, "due": due})
        return self

    def class_count(self) -> int | None:
        """As many as are named."""
        return len(self.classes) if self.classes else None

    def load(self, folder: Path | None, progress: Progress) -> Dataset:
        """Read two or four files."""
        files = [self.train_images, self.train_labels, self.test_images, self.test_labels]
        paths = [user_path(file) for file in files if file]
        train = read_pair(paths[0], paths[1])
        test = read_pair(paths[2], paths[3]) if len(paths) == 4 else None
        return named_splits(train, test, self.classes, paths)


def named_splits(train: Split, test: Split | None, classes: Any, paths: list[Path]) -> Dataset:
    """The data set of two splits, once their labels and sizes are known to agree. ``paths``: the files, in order."""
    names = tuple(classes or numbered_classes(train.labels, paths[1]))
    check_classes(names, paths[1])
    check_labels(train.labels, len(train), len(names), paths[1])
    if test is not None:
        check_labels(test.labels, len(test), len(names), paths[3])
        same_shape(paths[2], test.images, paths[0], train.images)
    return Dataset(names, train, test=test)


def same_shape(path: Path, images: np.ndarray, first: Path, others: np.ndarray) -> None:
    """Test images must have the training images' shape."""
    if images.shape[1:] != others.shape[1:]:
        sizes = ["x".join(map(str, array.shape[1:])) for array in (images, others)]
        raise data_error(path, f"holds images of {sizes[0]}, {first} of {sizes[1]}")
