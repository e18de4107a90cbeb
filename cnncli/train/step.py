"""The compiled part of training: K steps in one call, data already on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from cnncli.config.schema import Config
from cnncli.model import Model, Weights
from cnncli.train.objective import make_objective, training_batch
from cnncli.train.state import TrainState

INIT, STEPS = 0, 1  # what the seed's two families of keys are for
Run = Callable[..., tuple[TrainState, dict[str, Array]]]


def make_optimizer(config: Config, model: Model, per_epoch: int, total: int) -> optax.GradientTransformation:
    """The optimizer with its schedule, behind gradient clipping where asked."""
    train = config.train
    rate = train.schedule.build(train.optimizer.lr, per_epoch, total)
    clip = optax.clip_by_global_norm(train.clip_norm) if train.clip_norm else optax.identity()
    return optax.chain(clip, train.optimizer.build(rate, model.decays))


def first_weights(config: Config, model: Model, compiler_options: dict[str, Any] | None = None) -> Weights:
    """As the seed draws them."""
    return model.init(jax.random.fold_in(jax.random.key(config.seed), INIT), compiler_options)


def first_state(
    config: Config, model: Model, optimizer: optax.GradientTransformation, weights: Weights | None = None
) -> TrainState:
    """Before the first step. ``weights``: the ``first_weights``, where they are there already."""
    weights = weights or first_weights(config, model)
    ema = dict(weights.params) if config.train.ema else {}
    return TrainState(jnp.zeros((), jnp.int32), *weights, optimizer.init(weights.params), ema)


def make_run(
    config: Config,
    model: Model,
    optimizer: optax.GradientTransformation,
    classes: int,
    class_weights: Array | None = None,
) -> Run:
    """``run(state, images, labels, constants, rows)``: one step per line of ``rows`` (K, B) int32, up to one below 0.

    Gives the new state and the steps' ``loss`` (K,) float32 and ``correct`` (K,) int32. Every random number is a
    function of (seed, step) alone. ``class_weights`` (C,): what an example of each class counts, None for 1 each.
    """
    decay, keys = config.train.ema, jax.random.fold_in(jax.random.key(config.seed), STEPS)
    gradient = jax.value_and_grad(make_objective(config, model, classes, class_weights), has_aux=True)

    def run(state: TrainState, images: Array, labels: Array, constants: Any, rows: Array) -> Any:
        def step(state: TrainState, rows: Array) -> tuple[TrainState, dict[str, Array]]:
            key = jax.random.fold_in(keys, state.step)
            x, targets = training_batch(config, constants, images[rows], labels[rows], key)
            (value, (new, correct)), slope = gradient(state.params, state.state, x, targets, key)
            with jax.numpy_dtype_promotion("standard"):  # Optax is not written for the strict rules
                updates, inner = optimizer.update(slope, state.optimizer, state.params)
            params = optax.apply_updates(state.params, updates)
            ema = optax.incremental_update(params, state.ema, 1 - decay) if decay else {}
            return TrainState(state.step + 1, params, new, inner, ema), {"loss": value, "correct": correct}

        if len(rows) == 1:  # no loop around a single step: XLA's convolutions are slow inside one on CPU
            state, out = step(state, rows[0])
            return state, {name: value[None] for name, value in out.items()}

        def one_of_many(at: Array, carried: tuple[TrainState, dict[str, Array]]) -> tuple[TrainState, dict[str, Array]]:
            state, outs = carried
            state, out = step(state, rows[at])
            return state, {name: outs[name].at[at].set(value) for name, value in out.items()}

        outs = {"loss": jnp.zeros(len(rows), jnp.float32), "correct": jnp.zeros(len(rows), jnp.int32)}
        count = (rows[:, 0] >= 0).sum(dtype=jnp.int32)
        return jax.lax.fori_loop(0, count, one_of_many, (state, outs))

    return run
