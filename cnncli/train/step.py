"""The compiled part of training: K steps in one call, data already on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from cnncli.config.schema import Config
from cnncli.data.augment import augment
from cnncli.data.preprocess import apply_values
from cnncli.layers.base import name_hash
from cnncli.model import Model, Weights
from cnncli.train.state import TrainState

INIT, STEPS = 0, 1  # what the seed's two families of keys are for
Run = Callable[..., tuple[TrainState, dict[str, Array]]]


def make_optimizer(config: Config, model: Model, per_epoch: int, total: int) -> optax.GradientTransformation:
    """The optimizer with its schedule, behind gradient clipping where asked."""
    train = config.train
    rate = train.schedule.build(train.optimizer.lr, per_epoch, total)
    clip = optax.clip_by_global_norm(train.clip_norm) if train.clip_norm else optax.identity()
    return optax.chain(clip, train.optimizer.build(rate, model.decays))


def first_state(config: Config, model: Model, optimizer: optax.GradientTransformation) -> TrainState:
    """Before the first step."""
    weights = model.init(jax.random.fold_in(jax.random.key(config.seed), INIT))
    ema = dict(weights.params) if config.train.ema else {}
    return TrainState(jnp.zeros((), jnp.int32), *weights, optimizer.init(weights.params), ema)


class Targets(NamedTuple):
    """What a batch should give: ``labels`` (B,), and of mixed images the ``others`` and the labels' own ``share``."""

    labels: Array
    others: Array | None
    share: Array | None


def make_run(
    config: Config,
    model: Model,
    optimizer: optax.GradientTransformation,
    classes: int,
    class_weights: Array | None = None,
) -> Run:
    """``run(state, images, labels, constants, rows)``: one step per line of ``rows`` (K, B) int32.

    Gives the new state and the steps' ``loss`` (K,) float32 and ``correct`` (K,) int32. Every random number is a
    function of (seed, step) alone. ``class_weights`` (C,): what an example of each class counts, None for 1 each.
    """
    loss, decay = config.train.loss, config.train.ema
    keys = jax.random.fold_in(jax.random.key(config.seed), STEPS)

    def mean_loss(outputs: Array, y: Targets) -> Array:
        each = loss.per_example(outputs, y.labels, classes)
        if y.others is not None:
            each = y.share * each + (1 - y.share) * loss.per_example(outputs, y.others, classes)
        if class_weights is None:
            return each.mean()
        weights = class_weights[y.labels]
        return (weights * each).sum() / weights.sum()

    def objective(params: Any, state: Any, x: Array, y: Targets, key: Array) -> tuple[Array, tuple[Any, Array]]:
        outputs, heads, new = model.apply_training(Weights(params, state), x, key, undo=loss.undoes)
        correct = (loss.probabilities(outputs).argmax(-1) == y.labels).sum(dtype=jnp.int32)
        value = mean_loss(outputs, y)
        for weight, side in heads:
            value = value + weight * mean_loss(side, y)
        return value, (new, correct)

    def run(state: TrainState, images: Array, labels: Array, constants: Any, rows: Array) -> Any:
        def step(state: TrainState, rows: Array) -> tuple[TrainState, dict[str, Array]]:
            key = jax.random.fold_in(keys, state.step)
            x = images[rows].astype(jnp.float32)  # (B, H, W, C)
            y, own = labels[rows], jax.random.fold_in(key, name_hash("augment"))
            x, partners, share = augment(config.data.augment, constants, own, x)
            x = apply_values(config.data.preprocess, constants, x)
            targets = Targets(y, None if partners is None else y[partners], share)
            gradient = jax.value_and_grad(objective, has_aux=True)
            (value, (new, correct)), slope = gradient(state.params, state.state, x, targets, key)
            with jax.numpy_dtype_promotion("standard"):  # Optax is not written for the strict rules
                updates, inner = optimizer.update(slope, state.optimizer, state.params)
            params = optax.apply_updates(state.params, updates)
            ema = optax.incremental_update(params, state.ema, 1 - decay) if decay else {}
            return TrainState(state.step + 1, params, new, inner, ema), {"loss": value, "correct": correct}

        if len(rows) == 1:  # no loop around a single step: XLA on CPU is slow inside one
            state, out = step(state, rows[0])
            return state, {name: value[None] for name, value in out.items()}
        return jax.lax.scan(step, state, rows)

    return run
