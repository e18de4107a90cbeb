"""A network measured on a split, batch by batch, every image once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnncli.config.schema import Config
from cnncli.data import augment
from cnncli.data.base import Split
from cnncli.data.batches import padded_batches
from cnncli.data.preprocess import apply_values
from cnncli.metrics import Result
from cnncli.model import Model, Weights

Forward = Callable[..., Array]


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
