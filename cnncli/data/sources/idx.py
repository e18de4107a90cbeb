"""IDX, the file format of MNIST: a header with the shape, then unsigned bytes; gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import override

from cnncli.data.labels import check_classes, check_labels, numbered_classes
from cnncli.data.sources.source import Progress, Source
from cnncli.data.splits import SPLITS, ArraySplit, Dataset, SplitName, splits_to_read
from cnncli.lazy import lazy_imports
from cnncli.machine import require_memory
from cnncli.paths import PathText, user_path
from cnncli.safe_files import DEFLATE_RATIO, data_error, open_data_file, read_into
from cnncli.spec import sequence
from cnncli.text import times

with lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt8

MAX_BYTES = 4 << 30
TYPES = {0x08: "unsigned bytes", 0x09: "signed bytes", 0x0B: "shorts", 0x0C: "ints", 0x0D: "floats", 0x0E: "doubles"}


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

    @override
    def class_count(self) -> int | None:
        return len(self.classes) if self.classes else None

    @override
    def load(self, folder: Path | None, progress: Progress, wanted: Collection[SplitName] = SPLITS) -> Dataset:
        files = [self.train_images, self.train_labels, self.test_images, self.test_labels]
        paths = [user_path(file) for file in files if file]
        dataset = read_splits(paths, self.classes, wanted)
        if dataset.test is not None and (shape := dataset.test.images.shape[1:]) != dataset.image_shape:
            raise data_error(paths[2], f"holds images of {times(shape)}, {paths[0]} of {times(dataset.image_shape)}")
        return dataset


def read_splits(paths: Sequence[Path], classes: Sequence[str] | None, wanted: Collection[SplitName]) -> Dataset:
    """The data set of two or four files: train images, train labels, test images, test labels.

    Of a split that is not needed only the labels and the shape of the images are read. Where no ``classes`` are named
    they are the numbers up to the largest training label.
    """
    needed, splits, names = splits_to_read(wanted, own_val=False), [], tuple(classes or ())
    for name, images, labels in zip(("train", "test"), paths[::2], paths[1::2], strict=False):
        x, y = read_idx(images, 3, header_only=name not in needed), read_idx(labels, 1).astype(np.int32)
        if name in needed and len(x) != len(y):
            raise data_error(labels, f"holds {len(y):,} labels, {images} holds {len(x):,} images")
        names = names or numbered_classes(y, labels)
        check_classes(names, paths[1])
        check_labels(y, len(y), len(names), labels)
        splits.append(ArraySplit(x[..., np.newaxis], y[: len(x)]))  # (N, H, W, 1), (N,)
    return Dataset(names, splits[0], test=splits[1] if len(splits) > 1 else None)


def read_idx(path: Path, axes: int, header_only: bool = False) -> UInt8[np.ndarray, "N ..."]:
    """The array of an IDX file with so many ``axes``; with ``header_only`` none of its items, N = 0.

    Never reads more than the header promises, and one byte.
    """
    with open_data_file(path) as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        limit = raw.seek(0, 2) * (DEFLATE_RATIO if packed else 1)
        raw.seek(0)
        try:
            return _read(gzip.GzipFile(fileobj=raw) if packed else raw, path, axes, limit, header_only)
        except (OSError, EOFError, zlib.error) as error:
            raise data_error(path, f"is damaged: {error}", "Fetch it again.") from None


def _read(
    stream: BinaryIO | gzip.GzipFile, path: Path, axes: int, limit: int, header_only: bool
) -> UInt8[np.ndarray, "N ..."]:
    shape = _header(stream, path, axes)
    size = math.prod(shape)
    sizes = " x ".join(f"{n:,}" for n in shape)
    if not 0 < size <= MAX_BYTES:
        raise data_error(path, f"promises {sizes} = {size:,} bytes", f"Between 1 and {MAX_BYTES:,} can be read.")
    if size > limit:
        raise data_error(path, f"promises {sizes} = {size:,} bytes, it cannot hold more than {limit:,}",
                         "Fetch it again.")  # fmt: skip
    if header_only:
        return np.empty((0, *shape[1:]), np.uint8)
    require_memory(size, path, "its contents")
    array = np.empty(size, np.uint8)
    done = read_into(stream, array.data)
    if done < size or stream.read(1):
        held = f"{done:,}" if done < size else "more"
        raise data_error(path, f"promises {sizes} = {size:,} bytes and holds {held}", "Fetch it again.")
    return array.reshape(shape)


def _header(stream: BinaryIO | gzip.GzipFile, path: Path, axes: int) -> tuple[int, ...]:
    """The shape, after the magic number: 00 00, type, number of axes."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        raise data_error(path, f"is not an IDX file: it begins with {magic.hex(' ') or 'nothing'}",
                         f"Expected 00 00 08 {axes:02x}.")  # fmt: skip
    if magic[2] != 0x08:
        raise data_error(path, f"holds {TYPES[magic[2]]}", "Only unsigned bytes (type 08) are read.")
    if magic[3] != axes:
        raise data_error(path, f"holds {magic[3]} axes where {axes} are due",
                         "Images have 3 axes (count, height, width), labels 1: are the two files swapped?")  # fmt: skip
    sizes = stream.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise data_error(path, f"ends inside its header, after {4 + len(sizes)} bytes", "Fetch it again.")
    return tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * axes, 4))
