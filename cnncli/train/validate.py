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
from cnncli.data import augment
from cnncli.data.base import Split
from cnncli.data.batches import padded_batches
from cnncli.data.preprocess import apply_values
from cnncli.errors import CheckpointError, Place
from cnncli.metrics import Result
from cnncli.model import Model, Weights
from cnncli.runs.directory import Run, json_lines

Forward = Callable[..., Array]


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
        x = augment.rest(config.data.augment, images.astype(jnp.float32))
        x = apply_values(config.data.preprocess, constants, x)
        return model.apply(weights, x, undo=config.train.loss.undoes)[0]

    return forward


def make_count(config: Config, model: Model, classes: int) -> Callable[..., tuple[Array, Array]]:
    """A compiled ``count(weights, constants, images, labels, mask)`` -> a batch's sum of losses, confusion (C, C)."""
    forward, loss = make_forward(config, model), config.train.loss

    @jax.jit
    def count(weights: Weights, constants: Any, images: Array, labels: Array, mask: Array) -> tuple[Array, Array]:
        outputs = forward(weights, constants, images)
        losses = loss.per_example(outputs, labels, classes)
        predicted = loss.probabilities(outputs).argmax(-1)
        confusion = jnp.zeros((classes, classes), jnp.int32).at[labels, predicted].add(mask.astype(jnp.int32))
        return jnp.where(mask, losses, 0.0).sum(), confusion

    return count


def evaluate(
    count: Callable[..., tuple[Array, Array]],
    weights: Weights,
    constants: Any,
    split: Split,
    batch_size: int,
    sharding: Any,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Every image of ``split`` once. ``sharding``: how a batch lies on the devices."""
    loss, confusion = 0.0, np.zeros((), np.int64)
    for done, (total, table) in enumerate(_counts(count, weights, constants, split, batch_size, sharding), 1):
        loss += float(total)
        confusion = confusion + np.asarray(table, np.int64)
        progress(min(done * batch_size, len(split)), len(split))
    return Result(loss / len(split), confusion)


def _counts(
    count: Any, weights: Weights, constants: Any, split: Split, batch_size: int, sharding: Any
) -> Iterator[tuple[Array, Array]]:
    """One batch ahead of the one being read, so that the device does not wait for the host."""
    ahead: list[tuple[Array, Array]] = []
    for rows, mask in padded_batches(split, batch_size):
        batch = jax.device_put((split.images[rows], split.labels[rows], mask), sharding)
        with jax.set_mesh(sharding.mesh):
            ahead.append(count(weights, constants, *batch))
        if len(ahead) > 2:
            yield ahead.pop(0)
    yield from ahead
