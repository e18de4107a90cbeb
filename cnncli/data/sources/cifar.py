"""CIFAR-10 and CIFAR-100 in their binary version: label bytes, then 3,072 bytes of red, green and blue planes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from cnncli.data.labels import check_labels
from cnncli.data.sources.downloaded import Downloaded, Remote, advise, find_together, search_dirs
from cnncli.data.sources.source import Progress
from cnncli.data.splits import SPLITS, ArraySplit, Dataset, SplitName, splits_to_read
from cnncli.errors import DataError
from cnncli.lazy import lazy_imports
from cnncli.safe_files import data_error, is_file, open_data_file
from cnncli.sliding import Shape

with lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    import tarfile

PIXELS = 3 * 32 * 32
FINE_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man
    maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail
    snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout
    tulip turtle wardrobe whale willow_tree wolf woman worm
"""
TAR_SLACK = 1 << 20  # headers, padding and the small text files of the archive


@dataclass(frozen=True)
class Layout:
    """How a CIFAR archive is laid out. ``files``: name -> number of images, the test file last.

    Each image is ``label_bytes`` bytes, of which the last is the label, and its pixels.
    """

    archive: Remote
    folder: str
    files: dict[str, int]
    label_bytes: int

    def size(self, name: str) -> int:
        """Bytes that a file must have."""
        return self.files[name] * (self.label_bytes + PIXELS)


class _Cifar(Downloaded):
    """50,000 training and 10,000 test images, 32x32 RGB."""

    layout: ClassVar[Layout]
    shape: ClassVar[Shape | None] = (32, 32, 3)
    # The second is the mirror of the MindSpore tutorials; the SHA-256 decides.
    usual_mirrors: ClassVar[tuple[str, ...]] = (
        "https://www.cs.toronto.edu/~kriz",
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets",
    )

    @override
    def load(self, folder: Path | None, progress: Progress, wanted: Collection[SplitName] = SPLITS) -> Dataset:
        dirs = search_dirs(self.kind, folder)
        *train, test = self.layout.files
        needed = splits_to_read(wanted, own_val=False)
        files = [name for name in self.layout.files if ("test" if name == test else "train") in needed]
        where, contents = self._found(dirs, files) or self._fetched(dirs, files, progress)
        return Dataset(self.names, self._split(where, contents, train), test=self._split(where, contents, [test]))

    def _found(self, dirs: list[Path], files: Sequence[str]) -> tuple[Path, dict[str, bytes]] | None:
        """Where the data is and the contents of ``files``; None where neither files nor archive are there."""
        layout = self.layout
        for place in dirs:
            paths = find_together(self.kind, [place / layout.folder, place], [[name] for name in layout.files])
            if paths:
                where = paths[0].parent
                return where, {name: read_whole(where / name, layout.size(name)) for name in files}
            if is_file(place / layout.archive.name):
                return place / layout.archive.name, read_archive(place / layout.archive.name, layout, files)
        return None

    def _fetched(self, dirs: list[Path], files: Sequence[str], progress: Progress) -> tuple[Path, dict[str, bytes]]:
        advice = advise([f"{self.layout.archive.name} (or its {len(self.layout.files)} .bin files)"], dirs)
        path = self.fetch(self.layout.archive, advice, progress)
        return path, read_archive(path, self.layout, files)

    def _split(self, where: Path, contents: dict[str, bytes], files: Sequence[str]) -> ArraySplit:
        """Records to images (N, 32, 32, 3) and labels (N,); N = 0 where the ``files`` were not read."""
        record = self.layout.label_bytes + PIXELS
        read = [name for name in files if name in contents]
        parts = {name: np.frombuffer(contents[name], np.uint8).reshape(-1, record) for name in read}
        images = np.empty((sum(map(len, parts.values())), 32, 32, 3), np.uint8)
        labels = np.empty(len(images), np.int32)
        start = 0
        for name, records in parts.items():
            rows = slice(start, start := start + len(records))
            labels[rows] = records[:, self.layout.label_bytes - 1]
            check_labels(labels[rows], len(records), len(self.names), where / name)
            images[rows] = records[:, self.layout.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return ArraySplit(images, labels)


def read_whole(path: Path, size: int) -> bytes:
    """A file that must have ``size`` bytes."""
    with open_data_file(path) as stream:
        data = stream.read(size + 1)
    if len(data) != size:
        held = f"{len(data):,}" if len(data) < size else "more"
        raise data_error(path, f"has {held} bytes where {size:,} are due", "Fetch it again.")
    return data


def read_archive(path: Path, layout: Layout, files: Collection[str]) -> dict[str, bytes]:
    """Contents of ``files`` in a .tar.gz, read from the stream by their exact names. Nothing is unpacked to disk."""
    import tarfile

    wanted = {f"{layout.folder}/{name}": name for name in files}
    contents: dict[str, bytes] = {}
    with open_data_file(path) as raw:
        try:
            limit = TAR_SLACK + sum(layout.size(name) for name in layout.files)
            stream = _Limited(gzip.GzipFile(fileobj=raw), limit, path)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    if member.name in wanted and member.isreg():
                        contents[wanted[member.name]] = _member(tar, member, layout.size(wanted[member.name]), path)
        except DataError:
            raise
        except Exception as error:  # a parser of damaged or hostile bytes may raise anything
            raise data_error(path, f"is damaged: {error}", "Delete it and fetch it again.") from None
    missing = [member for member, name in wanted.items() if name not in contents]
    if missing:
        raise data_error(path, f"does not hold {', '.join(missing)}", "Is it the binary version?")
    return contents


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, size: int, path: Path) -> bytes:
    """One file of the archive, once its size is known to be right."""
    if member.size != size:
        raise data_error(path, f"{member.name} has {member.size:,} bytes where {size:,} are due", "Fetch it again.")
    stream = tar.extractfile(member)
    data = stream.read() if stream else b""
    if len(data) != size:
        raise data_error(path, f"ends inside {member.name}", "Delete it and fetch it again.")
    return data


class _Limited(io.RawIOBase):
    """A stream that raises DataError where an honest archive would have ended long before."""

    def __init__(self, stream: gzip.GzipFile, limit: int, path: Path) -> None:
        self.stream, self.left, self.path = stream, limit, path

    @override
    def readable(self) -> bool:
        return True

    @override
    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size if 0 <= size <= self.left else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise data_error(self.path, "unpacks to far more than the data set", "Delete it and fetch it again.")
        return data


class Cifar10(_Cifar):
    """CIFAR-10: 32x32 RGB, 50,000 train and 10,000 test images, ten classes from airplane to truck.

    The binary version, never the pickles: `cifar-10-binary.tar.gz` or its .bin files, looked for in `data.dir`/cifar10,
    `data.dir` (and cifar-10-batches-bin in either), the same under $CNN_DATA_DIR, and the user's cache; else fetched
    (170 MB). Source: A. Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html.

    Example: `cifar10`
    """

    aliases: ClassVar[tuple[str, ...]] = ("cifar", "cifar-10", "cifar_10")

    # tensorflow_datasets/url_checksums/cifar10.txt
    layout: ClassVar[Layout] = Layout(
        Remote("cifar-10-binary.tar.gz", 170052171,
               "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        "cifar-10-batches-bin",
        {**{f"data_batch_{i}.bin": 10_000 for i in range(1, 6)}, "test_batch.bin": 10_000},
        label_bytes=1,
    )  # fmt: skip
    names: ClassVar[tuple[str, ...]] = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip


class Cifar100(_Cifar):
    """CIFAR-100: 32x32 RGB, 50,000 train and 10,000 test images, its 100 fine classes from apple to worm.

    The binary version, never the pickles: `cifar-100-binary.tar.gz` or its .bin files, looked for in
    `data.dir`/cifar100, `data.dir` (and cifar-100-binary in either), the same under $CNN_DATA_DIR, and the user's
    cache; else fetched (169 MB). Source: A. Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html.

    Example: `cifar100`
    """

    aliases: ClassVar[tuple[str, ...]] = ("cifar-100", "cifar_100")

    # tensorflow_datasets/url_checksums/cifar100.txt. Each record: coarse label, fine label, pixels.
    layout: ClassVar[Layout] = Layout(
        Remote("cifar-100-binary.tar.gz", 168513733,
               "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
        "cifar-100-binary", {"train.bin": 50_000, "test.bin": 10_000}, label_bytes=2,
    )  # fmt: skip
    names: ClassVar[tuple[str, ...]] = tuple(FINE_NAMES.split())
