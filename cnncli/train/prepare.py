"""From a config to data the network can take: read, split, pixel steps done, value steps fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cnncli.config.schema import Config
from cnncli.data.sources.source import Progress
from cnncli.data.splits import SPLITS, ArraySplit, Dataset, SplitName, split_off_validation
from cnncli.data.transforms import augment, preprocess
from cnncli.data.transforms.transform import Constants, shape_after
from cnncli.errors import ConfigError, DataError, ShapeError
from cnncli.graph import Graph
from cnncli.paths import user_path
from cnncli.text import joined, times

FEW = 20  # validation images, with fewer of which a note is due


@dataclass(frozen=True)
class Data:
    """``dataset``: pixel steps done, validation split off. ``fingerprint``, ``image_shape``: of the data as stored.

    ``notes``: what the user should know of the splits.
    """

    dataset: Dataset
    fingerprint: str
    image_shape: tuple[int, ...]
    notes: tuple[str, ...] = ()


def load_data(config: Config, graph: Graph, progress: Progress, only: SplitName | None = None) -> Data:
    """Read the source, split validation off, do the pixel steps. Errors say what does not fit the network.

    ``only``: this split alone is what the network takes; there is no fingerprint then.
    """
    folder = user_path(config.data.dir) if config.data.dir else None
    raw = config.data.source.load(folder, progress, (only,) if only else SPLITS)
    fingerprint = "" if only else raw.fingerprint()
    _check_classes(config, raw, graph)
    try:
        shape = shape_after((*config.data.preprocess, *config.data.augment), raw.image_shape)
    except ShapeError as error:
        raise ConfigError.of(str(error), error.hint, path="data") from None
    if shape != graph.input_shape:
        raise ConfigError.of(f"the data gives {times(shape)}, got {times(graph.input_shape)}",
                             f"Try input: {list(shape)}, or a resize in preprocess.", path="model.input")  # fmt: skip
    half_to_one = config.data.validation_rounding == "half_to_one"
    dataset = split_off_validation(raw, config.data.validation, config.seed, half_to_one)
    splits = dataset.splits
    for name in (only,) if only in splits else splits:
        images = preprocess.apply_pixels(config.data.preprocess, splits[name].images)
        splits[name] = ArraySplit(images, splits[name].labels)
    dataset = Dataset(raw.classes, splits["train"], splits.get("val"), splits.get("test"))
    if not only and config.train.batch_size != "auto" and config.train.batch_size > len(dataset.train):
        raise ConfigError.of(f"is more than the {len(dataset.train)} training images",
                             f"Try batch_size: {len(dataset.train)}.", path="train.batch_size")  # fmt: skip
    notes = () if only else (*raw.notes, *_notes(config, dataset))
    return Data(dataset, fingerprint, raw.image_shape, notes)


def _notes(config: Config, dataset: Dataset) -> Iterator[str]:
    """What is odd about the validation images."""
    if dataset.val is None:
        if config.train.early_stop:
            yield "train.early_stop does nothing: there are no validation images (data.validation sets some aside)"
        return
    counts = np.bincount(dataset.val.labels, minlength=len(dataset.classes))
    if lacking := [name for name, count in zip(dataset.classes, counts, strict=True) if not count]:
        yield f"there are no validation images of {joined(lacking)}"
    if len(dataset.val) < FEW:
        yield (f"there are only {len(dataset.val)} validation images: each is {1 / len(dataset.val):.0%} of the "
               "accuracy by which the best checkpoint is chosen")  # fmt: skip


def fit_constants(config: Config, train: ArraySplit) -> Constants:
    """Constants of value steps and augmentations, from training images only."""
    # Value steps get images cropped where augmentation crops them.
    seen = augment.eval_transform_all(config.data.augment, train.images)
    return preprocess.fit(config.data.preprocess, seen) | augment.fit(config.data.augment, train.images)


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


def _check_classes(config: Config, raw: Dataset, graph: Graph) -> None:
    width = graph.output.shape[0]
    if width not in config.train.loss.widths(len(raw.classes)):
        raise DataError.of(f"the data has {len(raw.classes)} classes, the network gives {width} outputs",
                           f"Give the last layer {len(raw.classes)} units.")  # fmt: skip
