"""Splits of a data set, and the one rule by which a part of a split is set aside."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape

with lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Shaped

SplitName = Literal["test", "val", "train"]
# The first that exists is evaluated unless another one is asked for.
SPLITS: tuple[SplitName, ...] = ("test", "val", "train")


class Split(Protocol):
    """Images with labels. A split need not be in memory: ``read`` may decode."""

    @property
    def labels(self) -> Int[np.ndarray, " N"]:
        """Label of every image."""

    def __len__(self) -> int: ...

    def read(self, rows: Int[np.ndarray, " B"]) -> Shaped[np.ndarray, "B ..."]:
        """The images of these rows, uint8 or float32. Rows may be in any order; any thread may call."""


@dataclass(frozen=True)
class ArraySplit:
    """A split in memory: images (N, H, W, C), (N, length, C) or (N, units), uint8 or float32; labels (N,) int32."""

    images: Shaped[np.ndarray, "N ..."]
    labels: Int[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: Int[np.ndarray, " B"]) -> Shaped[np.ndarray, "B ..."]:
        """The images of these rows."""
        return self.images[rows]

    def take(self, rows: np.ndarray | slice) -> ArraySplit:
        """A split of these rows. A slice is a view."""
        return ArraySplit(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class Dataset:
    """The splits of a data source. ``notes``: what the user should know of how the data was read."""

    classes: tuple[str, ...]
    train: ArraySplit
    val: ArraySplit | None = None
    test: ArraySplit | None = None
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[SplitName, ArraySplit]:
        """Those that exist, in the order of ``SPLITS``."""
        return {name: split for name in SPLITS if (split := getattr(self, name)) is not None}

    @property
    def image_shape(self) -> Shape:
        """Shape of one image. It is known even where the training images were not read."""
        return self.train.images.shape[1:]

    def fingerprint(self, *names: SplitName) -> str:
        """SHA-256 over class names, shapes, types and all bytes of the named splits, or of all."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for split in (getattr(self, name) for name in names or ("train", "val", "test")):
            for array in (split.images, split.labels) if split is not None else ():
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def splits_to_read(wanted: Collection[SplitName], own_val: bool) -> set[SplitName]:
    """Splits of the source that the wanted ones are made of: without one of its own, val is set aside from train."""
    return {"train" if name == "val" and not own_val else name for name in wanted}


def split_off(labels: Int[np.ndarray, " N"], order: np.ndarray, counts: np.ndarray) -> Bool[np.ndarray, " N"]:
    """Which images are set aside: of each class the first ``counts[class]`` in ``order``, but never the last one."""
    by_class = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels, minlength=len(counts))
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    aside = np.zeros(len(labels), bool)
    aside[by_class[place < np.repeat(np.minimum(counts, sizes - 1), sizes)]] = True
    return aside


def split_off_by_name(names: list[bytes], labels: Int[np.ndarray, " N"], share: float) -> Bool[np.ndarray, " N"]:
    """About ``share`` of each class, by a hash of each file's name: no image moves when others come or go."""
    hashes = [int.from_bytes(hashlib.sha256(name).digest()[:6], "big") / 2**48 for name in names]  # in [0, 1)
    places = np.array(hashes)
    return split_off(labels, np.argsort(places, kind="stable"), np.bincount(labels[places < share],
                                                                            minlength=labels.max() + 1))  # fmt: skip


def split_off_validation(dataset: Dataset, share: float, seed: int, half_to_one: bool = True) -> Dataset:
    """Set ``share`` of the training images of each class aside for validation, in an order drawn from ``seed``.

    Nothing is set aside where there is a validation split, or where the classes are too small for ``share``.
    ``half_to_one``: half an image becomes one; else the even number, none: of classes of 5 and 6 images a share of
    0.1 then takes 0 and 1.
    """
    if dataset.val is not None or not share:
        return dataset
    labels = dataset.train.labels
    due = np.bincount(labels, minlength=len(dataset.classes)) * share
    counts = np.where(half_to_one & (due == 0.5), 1, np.round(due)).astype(int)
    aside = split_off(labels, np.random.default_rng((seed, 0xC0FFEE)).permutation(len(labels)), counts)
    if not aside.any():
        return dataset
    train, val = (dataset.train.take(np.flatnonzero(mask)) for mask in (~aside, aside))
    return replace(dataset, train=train, val=val)
