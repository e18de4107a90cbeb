"""From a config to data the network can take: read, split, pixel steps done, value steps fitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnncli.config.schema import Config
from cnncli.data import augment
from cnncli.data.augment import augmented_shape
from cnncli.data.base import Dataset, Progress, Split
from cnncli.data.batches import carve
from cnncli.data.preprocess import Constants, apply_pixels, fit
from cnncli.errors import ConfigError, DataError, ShapeError
from cnncli.graph import Graph
from cnncli.layers.base import times


@dataclass(frozen=True)
class Data:
    """``dataset``: pixel steps done, validation carved. ``fingerprint``, ``image_shape``: of the data as stored."""

    dataset: Dataset
    fingerprint: str
    image_shape: tuple[int, ...]


def load_data(config: Config, graph: Graph, progress: Progress) -> Data:
    """Read the source and make its images what the network takes. Errors say what does not fit."""
    folder = Path(config.data.dir).expanduser() if config.data.dir else None
    raw = config.data.source.load(folder, progress)
    fingerprint = raw.fingerprint()
    _check_classes(config, raw, graph)
    try:
        shape = augmented_shape(config.data.augment, tuple(_pixels(config, raw.train).images.shape[1:]))
    except ShapeError as error:
        raise ConfigError.of(str(error), error.hint, path="data") from None
    if shape != graph.input_shape:
        raise ConfigError.of(f"the data gives {times(shape)}, got {times(graph.input_shape)}",
                             f"Try input: {list(shape)}, or a resize in preprocess.", path="model.input")  # fmt: skip
    splits = [split and _pixels(config, split) for split in (raw.train, raw.val, raw.test)]
    assert splits[0]
    dataset = carve(Dataset(raw.classes, splits[0], splits[1], splits[2]), config.data.validation, config.seed)
    if config.train.batch_size != "auto" and config.train.batch_size > len(dataset.train):
        raise ConfigError.of(f"is more than the {len(dataset.train)} training images",
                             f"Try batch_size: {len(dataset.train)}.", path="train.batch_size")  # fmt: skip
    return Data(dataset, fingerprint, raw.train.images.shape[1:])


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
