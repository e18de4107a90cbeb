"""A network measured on a split, batch by batch, every image once; and what validation comes to over the epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnncli.config.schema import Config, TrainSettings
from cnncli.data.loader import padded_batches
from cnncli.data.splits import Split
from cnncli.data.transforms import augment
from cnncli.data.transforms.preprocess import apply_values
from cnncli.errors import CheckpointError, Place
from cnncli.metrics import Result
from cnncli.model import Model, Weights
from cnncli.runs.directory import Run, json_lines

Forward = Callable[..., Array]
Counted = tuple[Array, Array, Array]
Count = Callable[..., Counted]


@dataclass
class Validation:
    """What the figures of all epochs so far come to. ``waited``: epochs since the ``record``."""

    config: TrainSettings
    last: dict[str, float] | None = None
    best: tuple[float, float] = (-math.inf, -math.inf)  # accuracy, -loss
    record: float = -math.inf
    waited: int = -1  # the first epoch is a record, whatever its figures

    @classmethod
    def of_run(cls, run: Run, config: TrainSettings, step: int, per_epoch: int) -> Validation:
        """Up to ``step``, from metrics.jsonl. CheckpointError where that lacks epochs that ``early_stop`` counts."""
        found, epochs = cls(config), 0
        for line in json_lines(run.metrics):
            if line["kind"] == "epoch" and line["step"] <= step:
                epochs += 1
                found.add(line["val"])
        if config.early_stop and epochs != step // per_epoch:
            raise CheckpointError.of(f"has {epochs} of the {step // per_epoch} epochs that train.early_stop counts",
                                     "Put it back, or try train.early_stop=null.", Place(str(run.metrics)))  # fmt: skip
        return found

    def add(self, figures: dict[str, float] | None) -> bool:
        """One more epoch; whether it is the best so far. None: there is no validation split."""
        self.last = figures
        if figures is None:
            return False
        if stop := self.config.early_stop:
            value = figures[stop.metric] * (-1.0 if stop.metric == "loss" else 1.0)
            better = value > self.record + stop.min_delta
            self.record, self.waited = (value, 0) if better else (self.record, self.waited + 1)
        rank = (figures["accuracy"], -figures["loss"])
        best = math.isfinite(figures["loss"]) and rank > self.best
        self.best = rank if best else self.best
        return best

    @property
    def why_stop(self) -> str:
        """Why training should end here; empty where it should not."""
        stop = self.config.early_stop
        if stop and self.waited >= stop.patience:
            return f"stopped early: validation {stop.metric} has not improved for {stop.patience} epochs"
        return ""


def make_forward(config: Config, model: Model) -> Forward:
    """``forward(weights, constants, images)``: stored images (B, ...) -> outputs (B, C) as the loss wants them."""

    def forward(weights: Weights, constants: Any, images: Array) -> Array:
        x = augment.eval_transform(config.data.augment, images.astype(jnp.float32))
        x = apply_values(config.data.preprocess, constants, x)
        return model.apply(weights, x, undo=config.train.loss.undoes)[0]

    return forward


def make_count(config: Config, model: Model, classes: int) -> Count:
    """A compiled ``count(weights, constants, images, labels, mask)`` of a batch.

    Gives the sum of its losses, and of each image (B,) int32 the predicted class and its own class's place: how many
    classes are likelier, or as likely and before it.
    """
    forward, loss = make_forward(config, model), config.train.loss

    @jax.jit
    def count(weights: Weights, constants: Any, images: Array, labels: Array, mask: Array) -> Counted:
        outputs = forward(weights, constants, images)
        losses = loss.per_example(outputs, labels, classes)
        probabilities = loss.probabilities(outputs)
        own, index = jnp.take_along_axis(probabilities, labels[:, None], 1), jnp.arange(classes)[None]
        behind = (probabilities < own) | ((probabilities == own) & (index >= labels[:, None]))  # never where it is NaN
        places = classes - behind.sum(1, dtype=jnp.int32)
        return jnp.where(mask, losses, 0.0).sum(), probabilities.argmax(-1).astype(jnp.int32), places

    return count


def evaluate(
    count: Count,
    weights: Weights,
    constants: Any,
    split: Split,
    class_count: int,
    batch_size: int,
    sharding: Any,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Every image of ``split`` once. ``sharding``: how a batch lies on the devices."""
    loss, found = 0.0, []
    for done, counted in enumerate(_counts(count, weights, constants, split, batch_size, sharding), 1):
        total, *of_images = jax.device_get(counted)
        loss += float(total)
        found.append(of_images)
        progress(min(done * batch_size, len(split)), len(split))
    predicted, places = (np.concatenate(parts)[: len(split)] for parts in zip(*found, strict=True))
    return Result(loss / len(split), class_count, split.labels, predicted, places)


def _counts(
    count: Count, weights: Weights, constants: Any, split: Split, batch_size: int, sharding: Any
) -> Iterator[Counted]:
    """One batch ahead of the one being read, so that the device does not wait for the host."""
    ahead: list[Counted] = []
    for rows, mask in padded_batches(len(split), batch_size):
        batch = jax.device_put((split.read(rows), split.labels[rows], mask), sharding)
        with jax.set_mesh(sharding.mesh):
            ahead.append(count(weights, constants, *batch))
        if len(ahead) > 2:
            yield ahead.pop(0)
    yield from ahead
