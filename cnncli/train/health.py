"""Training health: each layer's activations, gradients and updates, before each epoch on its first batch.

``activation``: mean absolute output. ``gradient``: mean absolute gradient of the parameters. ``update``: length of the
update over the length of the weights. ``dead``: share of channels that rest at a flat end of their function for every
image of the batch. ``saturated``: share of values there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from cnncli.config.schema import Config
from cnncli.graph import Graph, Node
from cnncli.model import Model, Weights
from cnncli.train.objective import make_objective, training_batch
from cnncli.train.state import TrainState
from cnncli.train.step import STEPS

DEAD, SATURATED = 0.5, 0.75  # shares above which a layer is called so
VANISHING = 1e-3  # gradient over that of the layer with the largest
NEAR = 0.01  # how near a flat end counts as there
PLACES = ("weights", "input", "output", "loss", "gradient", "update", "statistics")
Health = dict[str, dict[str, float]]


def make_health(
    config: Config, model: Model, optimizer: optax.GradientTransformation, classes: int
) -> Callable[..., dict[str, dict[str, Array]]]:
    """A compiled ``health(state, images, labels, constants, rows, key)`` -> figures of every layer."""
    objective = make_objective(config, model, classes)

    @jax.jit
    def health(state: TrainState, images: Array, labels: Array, constants: Any, rows: Array, key: Array) -> Any:
        x, targets = training_batch(config, constants, images[rows], labels[rows], key)
        values = model.values(Weights(state.params, state.state), x, key)
        slope = jax.grad(objective, has_aux=True)(state.params, state.state, x, targets, key)[0]
        with jax.numpy_dtype_promotion("standard"):
            updates = optimizer.update(slope, state.optimizer, state.params)[0]
        return {node.name: _figures(node, values[node.name], state.params, slope, updates) for node in model.graph.main}

    return health


def make_examination(
    config: Config, model: Model, optimizer: optax.GradientTransformation, classes: int, class_weights: Array | None
) -> Callable[..., dict[str, dict[str, Array]]]:
    """A compiled ``examine(state, images, labels, constants, rows)`` -> what of the next training step is finite.

    By place (``PLACES``), then by layer ("" has none).
    """
    objective = jax.value_and_grad(make_objective(config, model, classes, class_weights), has_aux=True)
    keys = jax.random.fold_in(jax.random.key(config.seed), STEPS)

    @jax.jit
    def examine(state: TrainState, images: Array, labels: Array, constants: Any, rows: Array) -> Any:
        key = jax.random.fold_in(keys, state.step)
        x, targets = training_batch(config, constants, images[rows], labels[rows], key)
        values = model.values(Weights(state.params, state.state), x, key)
        (loss, (statistics, _)), slope = objective(state.params, state.state, x, targets, key)
        with jax.numpy_dtype_promotion("standard"):
            updates = optimizer.update(slope, state.optimizer, state.params)[0]
        return {
            "weights": _finite_layers(model, state.params),
            "input": {"": jnp.isfinite(x).all()},
            "output": {node.name: jnp.isfinite(values[node.name]).all() for node in model.graph.main},
            "loss": {"": jnp.isfinite(loss)},
            "gradient": _finite_layers(model, slope),
            "update": _finite_layers(model, optax.apply_updates(state.params, updates)),
            "statistics": _finite_layers(model, statistics),
        }

    return examine


def _finite_layers(model: Model, arrays: Mapping[str, Array]) -> dict[str, Array]:
    names = {node.name: [full for name in node.weights if (full := f"{node.name}.{name}") in arrays]
             for node in model.graph.nodes}  # fmt: skip
    return {
        node: jnp.stack([jnp.isfinite(arrays[name]).all() for name in mine]).all()
        for node, mine in names.items()
        if mine
    }


def first_not_finite(examined: Mapping[str, Mapping[str, Any]], layers: Sequence[str]) -> tuple[str, str] | None:
    """(place, layer) where it began, given ``layers`` in order; gradients flow from the last layer to the first."""
    for place in PLACES:
        bad = [layer for layer in ("", *layers) if not examined[place].get(layer, True)]
        if bad:
            return place, bad[-1] if place == "gradient" else bad[0]
    return None


def _figures(node: Node, y: Array, params: Any, slope: Any, updates: Any) -> dict[str, Array]:
    y = y.astype(jnp.float32)
    found = {"activation": jnp.abs(y).mean()}
    names = [f"{node.name}.{name}" for name in node.weights if f"{node.name}.{name}" in params]
    if names:
        count = sum(params[name].size for name in names)
        found["gradient"] = sum(jnp.abs(slope[name]).sum() for name in names) / count
        lengths = [optax.tree.norm([tree[name] for name in names]) for tree in (updates, params)]
        found["update"] = lengths[0] / jnp.maximum(lengths[1], 1e-12)
    if ends := node.layer.saturation_values():
        flat = jnp.stack([jnp.abs(y - end) < NEAR * max(abs(end), 1) if end else y == 0 for end in ends]).any(0)
        found["dead"] = flat.all(tuple(range(y.ndim - 1))).mean(dtype=jnp.float32)
        found["saturated"] = flat.mean(dtype=jnp.float32)
    return found


def warnings(health: Mapping[str, Mapping[str, float]], graph: Graph) -> list[str]:
    """What is wrong, in words; nothing for a healthy network."""
    # A ReLU has one such value, 0, where it is by design.
    two_ended = {node.name for node in graph.main if len(node.layer.saturation_values()) > 1}
    gradients = {name: figures["gradient"] for name, figures in health.items() if "gradient" in figures}
    largest = max(gradients, key=lambda name: gradients[name], default="")
    found = []
    for name, figures in health.items():
        if figures.get("dead", 0) > DEAD:
            found.append(f"{name}: {figures['dead']:.0%} of its units are dead (the same for every image; no gradient "
                         "passes): try a smaller learning rate, batch_norm before it, or leaky_relu")  # fmt: skip
        elif figures.get("saturated", 0) > SATURATED and name in two_ended:
            found.append(f"{name}: {figures['saturated']:.0%} of its values are saturated (slope nearly 0): "
                         "try smaller initial weights, batch_norm before it, or relu")  # fmt: skip
        if name in gradients and gradients[name] < VANISHING * gradients[largest]:
            share = gradients[largest] / gradients[name] if gradients[name] else float("inf")
            found.append(f"{name}: its gradient vanishes ({share:,.0f} times smaller than {largest}'s): try relu, "
                         "batch_norm, residual connections or he_normal")  # fmt: skip
    return found
