"""CIFAR-10 and CIFAR-100 in their binary version: label bytes, then 3,072 bytes of red, green and blue planes."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cnncli.data.base import Dataset, Progress, Shape, Split
from cnncli.data.fetch import Downloaded, Remote, advise, find_together, search_dirs
from cnncli.data.files import check_labels, data_error, is_file, open_regular
from cnncli.errors import DataError

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
    names: ClassVar[tuple[str, ...]] = ()
    # The second is the mirror of the MindSpore tutorials; the SHA-256 decides.
    usual_mirrors: ClassVar[tuple[str, ...]] = (
        "https://www.cs.toronto.edu/~kriz",
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets",
    )

    def image_shape(self) -> Shape:
        """32x32, RGB."""
        return (32, 32, 3)

    def class_count(self) -> int:
        """As many as there are names."""
        return len(self.names)

    def load(self, folder: Path | None, progress: Progress) -> Dataset:
        """Find the files or the archive, or fetch the archive, and read it."""
        dirs = search_dirs(self.kind, folder)
        where, parts = self._found(dirs) or self._fetched(dirs, progress)
        splits = [self._split(part, where / name) for name, part in parts.items()]
        return Dataset(self.names, _joined(splits[:-1]), test=splits[-1])

    def _found(self, dirs: list[Path]) -> tuple[Path, dict[str, bytes]] | None:
        layout = self.layout
        for place in dirs:
            paths = find_together(self.kind, [place / layout.folder, place], [[name] for name in layout.files])
            if paths:
                return paths[0].parent, {path.name: read_whole(path, layout.size(path.name)) for path in paths}
            if is_file(place / layout.archive.name):
                return place / layout.archive.name, read_archive(place / layout.archive.name, layout)
        return None

    def _fetched(self, dirs: list[Path], progress: Progress) -> tuple[Path, dict[str, bytes]]:
        advice = advise([f"{self.layout.archive.name} (or its {len(self.layout.files)} .bin files)"], dirs)
        path = self.fetch(self.layout.archive, advice, progress)
        return path, read_archive(path, self.layout)

    def _split(self, data: bytes, path: Path) -> Split:
        """Records to images (N, 32, 32, 3) and labels (N,)."""
        import numpy as np

        records = np.frombuffer(data, np.uint8).reshape(-1, self.layout.label_bytes + PIXELS)
        labels = records[:, self.layout.label_bytes - 1].astype(np.int32)
        check_labels(labels, len(records), len(self.names), path)
        planes = records[:, self.layout.label_bytes :].reshape(-1, 3, 32, 32)
        return Split(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels)


def _joined(splits: list[Split]) -> Split:
    import numpy as np

    return Split(np.concatenate([s.images for s in splits]), np.concatenate([s.labels for s in splits]))


def read_whole(path: Path, size: int) -> bytes:
    """A file that must have ``size`` bytes."""
    with open_regular(path) as stream:
        data = stream.read(size + 1)
    if len(data) != size:
        held = f"{len(data):,}" if len(data) < size else "more"
        raise data_error(path, f"has {held} bytes where {size:,} are due", "Fetch it again.")
    return data


def read_archive(path: Path, layout: Layout) -> dict[str, bytes]:
    """The files of a .tar.gz, read from the stream by their exact names. Nothing is unpacked to disk."""
    import tarfile

    wanted = {f"{layout.folder}/{name}": name for name in layout.files}
    parts: dict[str, bytes] = {}
    with open_regular(path) as raw:
        try:
            limit = TAR_SLACK + sum(layout.size(name) for name in layout.files)
            stream = _Limited(gzip.GzipFile(fileobj=raw), limit, path)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    if member.name in wanted and member.isreg():
                        parts[wanted[member.name]] = _member(tar, member, layout.size(wanted[member.name]), path)
        except DataError:
            raise
        except Exception as error:  # a parser of damaged or hostile bytes may raise anything
            raise data_error(path, f"is damaged: {error}", "Delete it and fetch it again.") from None
    missing = [full for full, name in wanted.items() if name not in parts]
    if missing:
        raise data_error(path, f"does not hold {', '.join(missing)}", "Is it the binary version?")
    return {name: parts[name] for name in layout.files}


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
    """A stream that ends in an error where an honest archive would long have ended."""

    def __init__(self, stream: gzip.GzipFile, limit: int, path: Path) -> None:
        self.stream, self.left, self.path = stream, limit, path

    def readable(self) -> bool:
        """It can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes."""
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
