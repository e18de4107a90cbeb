"""From a config to data the network can take: read, split, pixel steps done, value steps fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cnncli.config.schema import Config
from cnncli.data import augment
from cnncli.data.augment import augmented_shape
from cnncli.data.base import Dataset, Progress, Split, SplitName
from cnncli.data.batches import carve
from cnncli.data.files import some, user_path
from cnncli.data.preprocess import Constants, apply_pixels, fit
from cnncli.errors import ConfigError, DataError, ShapeError
from cnncli.graph import Graph
from cnncli.layers.base import times

FEW = 20  # validation images, with fewer of which a note is due


@dataclass(frozen=True)
class Data:
    """``dataset``: pixel steps done, validation carved. ``fingerprint``, ``image_shape``: of the data as stored.

    ``notes``: what the user should know of the splits.
    """

    dataset: Dataset
    fingerprint: str
    image_shape: tuple[int, ...]
    notes: tuple[str, ...] = ()


def load_data(config: Config, graph: Graph, progress: Progress, only: SplitName | None = None) -> Data:
    """Read the source and make its images what the network takes. Errors say what does not fit.

    ``only``: what is not needed for that split may be left out; there is no fingerprint then.
    """
    folder = user_path(config.data.dir) if config.data.dir else None
    source = config.data.source
    raw = source.load_split(only, folder, progress) if only else source.load(folder, progress)
    fingerprint = "" if only else raw.fingerprint()
    _check_classes(config, raw, graph)
    dataset = carve(raw, config.data.validation, config.seed, config.data.half_image == "one")
    try:
        pixels = {name: _pixels(config, split) for name, split in dataset.splits.items()}
        dataset = Dataset(raw.classes, pixels["train"], pixels.get("val"), pixels.get("test"))
        shape = augmented_shape(config.data.augment, tuple(dataset.train.images.shape[1:]))
    except ShapeError as error:
        raise ConfigError.of(str(error), error.hint, path="data") from None
    if shape != graph.input_shape:
        raise ConfigError.of(f"the data gives {times(shape)}, got {times(graph.input_shape)}",
                             f"Try input: {list(shape)}, or a resize in preprocess.", path="model.input")  # fmt: skip
    if not only and config.train.batch_size != "auto" and config.train.batch_size > len(dataset.train):
        raise ConfigError.of(f"is more than the {len(dataset.train)} training images",
                             f"Try batch_size: {len(dataset.train)}.", path="train.batch_size")  # fmt: skip
    notes = () if only else (*raw.notes, *_notes(config, dataset))
    return Data(dataset, fingerprint, raw.train.images.shape[1:], notes)


def _notes(config: Config, dataset: Dataset) -> Iterator[str]:
    """What is odd about the validation images."""
    if dataset.val is None:
        if config.train.early_stop:
            yield "train.early_stop does nothing: there are no validation images (data.validation sets some aside)"
        return
    counts = np.bincount(dataset.val.labels, minlength=len(dataset.classes))
    if lacking := [name for name, count in zip(dataset.classes, counts, strict=True) if not count]:
        yield f"there are no validation images of {some(lacking)}"
    if len(dataset.val) < FEW:
        yield (f"there are only {len(dataset.val)} validation images: each is {1 / len(dataset.val):.0%} of the "
               "accuracy by which the best checkpoint is chosen")  # fmt: skip


def fit_constants(config: Config, train: Split) -> Constants:
    """Constants of value steps and augmentations, from training images only."""
    seen = augment.at_rest(config.data.augment, train.images)  # what value steps get: cropped where images are cropped
    return fit(config.data.preprocess, seen) | augment.fit(config.data.augment, train.images)


def class_weights(config: Config, dataset: Dataset) -> np.ndarray | None:
    """What an example of each class counts, (C,) float32; None where all count 1."""
    wanted = config.train.class_weights
    if wanted is None:
        return None
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    if wanted == "balanced":
        return (len(dataset.train) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
    if len(wanted) != len(counts):
        raise ConfigError.of(
            f"expected {len(counts)} numbers, one per class, got {len(wanted)}", path="train.class_weights"
        )
    return np.asarray(wanted, np.float32)


def _pixels(config: Config, split: Split) -> Split:
    images = split.images
    if config.data.preprocess:
        images = apply_pixels(config.data.preprocess, images)
    return Split(np.ascontiguousarray(images), split.labels)


def _check_classes(config: Config, raw: Dataset, graph: Graph) -> None:
    width = graph.output.shape[0]
    if width not in config.train.loss.widths(len(raw.classes)):
        raise DataError.of(f"the data has {len(raw.classes)} classes, the network gives {width} outputs",
                           f"Give the last layer {len(raw.classes)} units.")  # fmt: skip
