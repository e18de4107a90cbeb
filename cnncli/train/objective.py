"""What a batch is and what training makes small on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cnncli.config.schema import Config
from cnncli.data.transforms.augment import augment
from cnncli.data.transforms.preprocess import apply_values
from cnncli.layers.base import name_hash
from cnncli.model import Model, Weights


class Targets(NamedTuple):
    """What a batch should give: ``labels`` (B,), and of mixed images the ``others`` and the labels' own ``share``."""

    labels: Array
    others: Array | None = None
    share: Array | None = None


def training_batch(config: Config, constants: Any, x: Array, y: Array, key: Array) -> tuple[Array, Targets]:
    """Stored images ``x`` (B, ...) and labels as the network gets them in training: augmented, then value steps."""
    own = jax.random.fold_in(key, name_hash("augment"))
    x, partners, share = augment(config.data.augment, constants, own, x.astype(jnp.float32))
    x = apply_values(config.data.preprocess, constants, x)
    return x, Targets(y, None if partners is None else y[partners], share)


Objective = Callable[[Any, Any, Array, Targets, Array], tuple[Array, tuple[Any, Array]]]


def make_objective(config: Config, model: Model, classes: int, class_weights: Array | None = None) -> Objective:
    """``objective(params, state, x, targets, key)`` -> mean loss, (new state, number of correct images).

    ``class_weights`` (C,): what an example of each class counts, None for 1 each.
    """
    loss = config.train.loss

    def mean_loss(outputs: Array, y: Targets) -> Array:
        def parts(labels: Array, share: Array) -> tuple[Array, Array]:
            if class_weights is None:
                return share * loss.per_example(outputs, labels, classes), share
            return share * loss.weighted(outputs, labels, classes, class_weights), share * class_weights[labels]

        losses, weights = parts(y.labels, jnp.ones(len(y.labels)) if y.share is None else y.share)
        if y.others is not None and y.share is not None:
            more, others = parts(y.others, 1 - y.share)
            losses, weights = losses + more, weights + others
        return losses.sum() / weights.sum()

    def objective(params: Any, state: Any, x: Array, y: Targets, key: Array) -> tuple[Array, tuple[Any, Array]]:
        outputs, heads, new = model.apply_training(Weights(params, state), x, key, undo=loss.undoes)
        correct = (loss.probabilities(outputs).argmax(-1) == y.labels).sum(dtype=jnp.int32)
        value = mean_loss(outputs, y)
        for weight, side in heads:
            value = value + weight * mean_loss(side, y)
        return value, (new, correct)

    return objective
