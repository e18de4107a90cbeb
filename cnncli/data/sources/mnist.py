"""MNIST and Fashion-MNIST: four IDX files each, of the same names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from cnncli.data.sources.digits import DIGIT_NAMES
from cnncli.data.sources.downloaded import Downloaded, Remote, advise, find_together, search_dirs
from cnncli.data.sources.idx import read_splits
from cnncli.data.sources.source import Progress
from cnncli.data.splits import SPLITS, ArraySplit, Dataset, SplitName
from cnncli.safe_files import data_error
from cnncli.sliding import Shape
from cnncli.text import times

# The files of both sets have the same names. Their first ten test labels tell which set it is.
FIRST_TEST_LABELS = {"mnist": (7, 2, 1, 0, 4, 1, 4, 9, 5, 9), "fashion_mnist": (9, 2, 1, 1, 6, 1, 4, 6, 5, 7)}


class _FourFiles(Downloaded):
    """60,000 training and 10,000 test images, 28x28 grey, ten classes, in four IDX files."""

    files: ClassVar[tuple[Remote, ...]] = ()  # train images, train labels, test images, test labels
    shape: ClassVar[Shape | None] = (28, 28, 1)
    names: ClassVar[tuple[str, ...]] = DIGIT_NAMES

    @override
    def load(self, folder: Path | None, progress: Progress, wanted: Collection[SplitName] = SPLITS) -> Dataset:
        dirs = search_dirs(self.kind, folder)
        paths = find_together(self.kind, dirs, [_spellings(remote.name) for remote in self.files])
        paths = paths or self._fetch(dirs, progress)
        dataset = read_splits(paths, self.names, wanted)
        for path, split in zip(paths[::2], (dataset.train, dataset.test), strict=True):
            if split is not None and (shape := split.images.shape[1:]) != self.shape:
                raise data_error(path, f"holds images of {times(shape[:2])}, {self.kind} is 28x28",
                                 "Source idx reads other sets of images.")  # fmt: skip
        if dataset.test is not None:
            self._require_own_labels(paths[3], dataset.test)
        return dataset

    def _fetch(self, dirs: list[Path], progress: Progress) -> list[Path]:
        """The four files in the cache. Only missing ones are downloaded."""
        advice = advise([remote.name for remote in self.files], dirs)
        paths = []
        for remote in self.files:
            present = find_together(self.kind, dirs[-1:], [_spellings(remote.name)])
            paths += present or [self.fetch(remote, advice, progress)]
        return paths

    def _require_own_labels(self, path: Path, test: ArraySplit) -> None:
        """Refuse the files of the other data set."""
        first = tuple(int(label) for label in test.labels[:10])
        for other, labels in FIRST_TEST_LABELS.items():
            if other != self.kind and first == labels:
                raise data_error(path, f"holds the labels of {other}, not of {self.kind}",
                                 f"Keep each set in a folder of its name, here {path.parent / self.kind}.")  # fmt: skip


def _spellings(name: str) -> list[str]:
    """``train-images-idx3-ubyte.gz`` and the other names of the same file."""
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    return [f"{plain}.gz", plain, f"{dotted}.gz", dotted]


class Mnist(_FourFiles):
    """MNIST: handwritten digits, 28x28 grey, 60,000 train and 10,000 test images.

    Image (28, 28, 1) uint8, classes "0" to "9". Files `train-images-idx3-ubyte` and so on, gzipped or not, are looked
    for in `data.dir`/mnist, `data.dir`, the same under $CNN_DATA_DIR, and the user's cache; else fetched (11.6 MB).
    Source: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/.

    Example: `mnist`
    """

    aliases: ClassVar[tuple[str, ...]] = ("mnist_784", "keras_mnist")

    # SHA-256 of the original .gz: tensorflow_datasets' checksums of the mirrors below. Content: computed from files
    # whose MD5 are the canonical ones (6bbc9ace..., a25bea73..., 2646ac64..., 27ae3e4e...).
    files: ClassVar[tuple[Remote, ...]] = (
        Remote("train-images-idx3-ubyte.gz", 9912422,
               "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
               "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        Remote("train-labels-idx1-ubyte.gz", 28881,
               "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
               "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        Remote("t10k-images-idx3-ubyte.gz", 1648877,
               "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
               "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        Remote("t10k-labels-idx1-ubyte.gz", 4542,
               "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
               "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    )  # fmt: skip
    usual_mirrors: ClassVar[tuple[str, ...]] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    )


class FashionMnist(_FourFiles):
    """Fashion-MNIST: articles of clothing, 28x28 grey, 60,000 train and 10,000 test images.

    Image (28, 28, 1) uint8, ten classes from T-shirt/top to Ankle boot. The same file names as MNIST: looked for in
    `data.dir`/fashion_mnist, `data.dir`, the same under $CNN_DATA_DIR, and the user's cache; else fetched (30.9 MB).
    Source: H. Xiao, K. Rasul, R. Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist, MIT licence.

    Example: `fashion_mnist`
    """

    aliases: ClassVar[tuple[str, ...]] = ("fashion", "fmnist", "fashion-mnist", "fashionmnist")

    # tensorflow_datasets/url_checksums/fashion_mnist.txt
    files: ClassVar[tuple[Remote, ...]] = (
        Remote("train-images-idx3-ubyte.gz", 26421880,
               "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        Remote("train-labels-idx1-ubyte.gz", 29515,
               "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        Remote("t10k-images-idx3-ubyte.gz", 4422102,
               "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        Remote("t10k-labels-idx1-ubyte.gz", 5148,
               "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    )  # fmt: skip
    usual_mirrors: ClassVar[tuple[str, ...]] = (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    )
    names: ClassVar[tuple[str, ...]] = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
