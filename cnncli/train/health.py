"""Training health: each layer's activations, gradients and updates, before each epoch on its first batch.

``activation``: mean absolute output. ``gradient``: mean absolute gradient of the parameters. ``update``: length of the
update over the length of the weights. ``dead``: share of channels that are saturated for every image of the batch.
``saturated``: share of values near a saturation value of their function. And which layer is first not finite.
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
from cnncli.model import Arrays, Model, Weights
from cnncli.train.state import TrainState
from cnncli.train.step import STEPS, TrainData, make_loss_fn, training_batch

DEAD, SATURATED = 0.5, 0.75  # shares above which a layer is called so
VANISHING = 1e-3  # gradient over that of the layer with the largest
NEAR = 0.01  # distance from a saturation value that counts as saturated
CHECKS = ("weights", "input", "output", "loss", "gradient", "update", "statistics")
Health = dict[str, dict[str, float]]


class Diverged(Exception):  # noqa: N818 (its cause is looked for first; then it may become an error)
    """The loss or a parameter is NaN or infinite.

    ``step``: the first (from 0) whose result is not to be used; ``what`` is not finite.
    """

    def __init__(self, step: int, what: str) -> None:
        super().__init__(what)
        self.step, self.what = step, what


def make_health(
    config: Config, model: Model, optimizer: optax.GradientTransformation, classes: int
) -> Callable[..., dict[str, dict[str, Array]]]:
    """A compiled ``health(state, data, rows, key)`` -> figures of every layer."""
    grad_fn = jax.grad(make_loss_fn(config, model, classes), has_aux=True)

    @jax.jit
    def health(state: TrainState, data: TrainData, rows: Array, key: Array) -> dict[str, dict[str, Array]]:
        x, targets = training_batch(config, data, rows, key)
        values = model.values(Weights(state.params, state.model_state), x, key)
        grads = grad_fn(state.params, state.model_state, x, targets, key)[0]
        with jax.numpy_dtype_promotion("standard"):
            updates = optimizer.update(grads, state.opt_state, state.params)[0]
        return {node.name: _figures(node, values[node.name], state.params, grads, updates) for node in model.graph.main}

    return health


def make_examination(
    config: Config, model: Model, optimizer: optax.GradientTransformation, classes: int, class_weights: Array | None
) -> Callable[..., dict[str, dict[str, Array]]]:
    """A compiled ``examine(state, data, rows)``: which values of the next training step are finite.

    By check (``CHECKS``), then by layer; a check of no layer has the key "".
    """
    grad_fn = jax.value_and_grad(make_loss_fn(config, model, classes, class_weights), has_aux=True)
    keys = jax.random.fold_in(jax.random.key(config.seed), STEPS)

    @jax.jit
    def examine(state: TrainState, data: TrainData, rows: Array) -> dict[str, dict[str, Array]]:
        key = jax.random.fold_in(keys, state.step)
        x, targets = training_batch(config, data, rows, key)
        values = model.values(Weights(state.params, state.model_state), x, key)
        (loss, (model_state, _)), grads = grad_fn(state.params, state.model_state, x, targets, key)
        with jax.numpy_dtype_promotion("standard"):
            updates = optimizer.update(grads, state.opt_state, state.params)[0]
        return {
            "weights": _finite_layers(model, state.params),
            "input": {"": jnp.isfinite(x).all()},
            "output": {node.name: jnp.isfinite(values[node.name]).all() for node in model.graph.main},
            "loss": {"": jnp.isfinite(loss)},
            "gradient": _finite_layers(model, grads),
            "update": _finite_layers(model, optax.apply_updates(state.params, updates)),
            "statistics": _finite_layers(model, model_state),
        }

    return examine


def _finite_layers(model: Model, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Whether all of a layer's arrays are finite, for the layers that have any in ``arrays``."""
    finite = {}
    for node in model.graph.nodes:
        if names := _names(node, arrays):
            finite[node.name] = jnp.stack([jnp.isfinite(arrays[name]).all() for name in names]).all()
    return finite


def _names(node: Node, arrays: Mapping[str, Array]) -> list[str]:
    """The full names of a layer's weights that are in ``arrays``."""
    return [full for name in node.weights if (full := f"{node.name}.{name}") in arrays]


def first_not_finite(examined: Mapping[str, Mapping[str, Any]], layers: Sequence[str]) -> tuple[str, str] | None:
    """(check, layer) where it began, given ``layers`` in order; gradients flow from the last layer to the first."""
    for check in CHECKS:
        bad = [layer for layer in ("", *layers) if not examined[check].get(layer, True)]
        if bad:
            return check, bad[-1] if check == "gradient" else bad[0]
    return None


def _figures(node: Node, y: Array, params: Arrays, grads: Arrays, updates: Arrays) -> dict[str, Array]:
    y = y.astype(jnp.float32)
    figures: dict[str, Any] = {"activation": jnp.abs(y).mean()}
    if names := _names(node, params):
        count = sum(params[name].size for name in names)
        figures["gradient"] = sum(jnp.abs(grads[name]).sum() for name in names) / count
        lengths = [optax.tree.norm([tree[name] for name in names]) for tree in (updates, params)]
        figures["update"] = lengths[0] / jnp.maximum(lengths[1], 1e-12)
    if ends := node.layer.saturation_values():
        flat = jnp.stack([jnp.abs(y - end) < NEAR * max(abs(end), 1) if end else y == 0 for end in ends]).any(0)
        figures["dead"] = flat.all(tuple(range(y.ndim - 1))).mean(dtype=jnp.float32)
        figures["saturated"] = flat.mean(dtype=jnp.float32)
    return figures


def warnings(health: Mapping[str, Mapping[str, float]], graph: Graph) -> list[str]:
    """A sentence for everything that is wrong; none for a healthy network."""
    # ReLU has a single saturation value, 0, where it is by design.
    two_ended = {node.name for node in graph.main if len(node.layer.saturation_values()) > 1}
    gradients = {name: figures["gradient"] for name, figures in health.items() if "gradient" in figures}
    largest = max(gradients, key=lambda name: gradients[name], default="")
    texts = []
    for name, figures in health.items():
        if figures.get("dead", 0) > DEAD:
            texts.append(f"{name}: {figures['dead']:.0%} of its units are dead (the same for every image; no gradient "
                         "passes): try a smaller learning rate, batch_norm before it, or leaky_relu")  # fmt: skip
        elif figures.get("saturated", 0) > SATURATED and name in two_ended:
            texts.append(f"{name}: {figures['saturated']:.0%} of its values are saturated (gradient nearly 0): "
                         "try smaller initial weights, batch_norm before it, or relu")  # fmt: skip
        if name in gradients and gradients[name] < VANISHING * gradients[largest]:
            share = gradients[largest] / gradients[name] if gradients[name] else float("inf")
            texts.append(f"{name}: its gradient vanishes ({share:,.0f} times smaller than {largest}'s): try relu, "
                         "batch_norm, residual connections or he_normal")  # fmt: skip
    return texts
