"""The same networks in plain JAX, written as one would by hand: ``lax`` convolutions and windows, one jitted step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cnncli.config.load import Loaded
from cnncli.graph import INPUT, Graph, Node
from tests.bench.networks import MOMENTUM, RATE, arrays, ends, images_and_labels


def windowed(x: Array, start: float, combine: Any, node: Node) -> Array:
    """``lax.reduce_window`` over a pool's windows."""
    window = node.resolved.sliding
    size, stride = (1, *window.size, 1), (1, *window.stride, 1)
    return lax.reduce_window(x, np.asarray(start, x.dtype), combine, size, stride, ((0, 0), *window.padding, (0, 0)))


def conv(node: Node, x: Array, w: Any) -> Array:
    window = node.resolved.sliding
    y = lax.conv_general_dilated(
        x,
        w["kernel"].astype(x.dtype),
        window.stride,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=node.layer.groups,
    )
    return y + w["bias"].astype(x.dtype) if node.layer.bias else y


def fc(node: Node, x: Array, w: Any) -> Array:
    y = x.reshape(x.shape[0], -1) @ w["kernel"].astype(x.dtype)
    return y + w["bias"].astype(x.dtype) if node.layer.bias else y


def batch_norm(node: Node, x: Array, w: Any) -> tuple[Array, dict[str, Array]]:
    wide = x.astype(jnp.float32)
    mean, var = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    y = (wide - mean) * lax.rsqrt(var + node.layer.epsilon) * w["scale"] + w["bias"]
    keep = node.layer.momentum
    new = {"mean": keep * w["mean"] + (1 - keep) * mean, "var": keep * w["var"] + (1 - keep) * var}
    return y.astype(x.dtype), new


def lrn(node: Node, x: Array) -> Array:
    n, wide = node.layer.n, x.astype(jnp.float32)
    total = lax.reduce_window(
        wide**2, 0.0, lax.add, (1, 1, 1, n), (1, 1, 1, 1), ((0, 0),) * 3 + ((n // 2, (n - 1) // 2),)
    )
    return (wide * (node.layer.k + node.layer.alpha / n * total) ** -node.layer.beta).astype(x.dtype)


def dropout(node: Node, x: Array, key: Array) -> Array:
    kept = jax.random.bernoulli(key, 1 - node.layer.rate, x.shape)
    return jnp.where(kept, x / (1 - node.layer.rate), 0)


def pad_channels(node: Node, x: Array) -> Array:
    more = node.layer.to - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))


PLAIN: dict[str, Callable[..., Array]] = {
    "relu": lambda node, x: jax.nn.relu(x),
    "tanh": lambda node, x: jnp.tanh(x),
    "max_pool": lambda node, x: windowed(x, -jnp.inf, lax.max, node),
    "avg_pool": lambda node, x: windowed(x, 0.0, lax.add, node) / math.prod(node.resolved.sliding.size),
    "global_avg_pool": lambda node, x: x.mean((1, 2)),
    "add": lambda node, a, b: a + b,
    "concat": lambda node, *parts: jnp.concatenate(parts, -1),
    "softmax": lambda node, x: x,  # the loss has it
    "lrn": lrn,
    "pad_channels": pad_channels,
}


def forward(graph: Graph, weights: dict[str, Array], x: Array, key: Array) -> tuple[list[Array], dict[str, Array]]:
    """Logits of every end, the network's first, and the new running statistics."""
    values, new = {INPUT: x}, {}
    for index, node in enumerate(graph.nodes):
        inputs = [values[name] for name in node.inputs]
        mine = {name: weights[f"{node.name}.{name}"] for name in node.weights}
        if node.layer.kind in ("conv", "fc"):
            y = (conv if node.layer.kind == "conv" else fc)(node, inputs[0], mine)
        elif node.layer.kind == "batch_norm":
            y, found = batch_norm(node, inputs[0], mine)
            new |= {f"{node.name}.{name}": array for name, array in found.items()}
        elif node.layer.kind == "dropout":
            y = dropout(node, inputs[0], jax.random.fold_in(key, index))
        else:
            y = PLAIN[node.layer.kind](node, *inputs)
        values[node.name] = y
    return [values[name].astype(jnp.float32) for name in ends(graph)], new


def make_loss(graph: Graph, dtype: Any) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """``loss(params, state, x, labels, key)`` -> cross-entropy of every end, weighted, and the new statistics."""

    def loss(params: Any, state: Any, x: Array, labels: Array, key: Array) -> tuple[Array, dict[str, Array]]:
        outputs, new = forward(graph, params | state, x.astype(dtype), key)
        total = jnp.zeros(())
        for weight, logits in zip(ends(graph).values(), outputs, strict=True):
            picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], -1)
            total = total - weight * picked.mean()
        return total, new

    return loss


def split(graph: Graph) -> tuple[dict[str, Array], dict[str, Array]]:
    """The first parameters and running statistics."""
    running = {f"{node}.{name}" for node, name, weight in graph.weights() if weight.state}
    given = {name: jnp.asarray(array) for name, array in arrays(graph).items()}
    return ({k: v for k, v in given.items() if k not in running}, {k: v for k, v in given.items() if k in running})


def make(loaded: Loaded) -> tuple[str, Callable[[int], None]]:
    """(what it is, ``run(steps)`` that returns when they are done)."""
    graph, size = loaded.graph, loaded.config.train.batch_size
    dtype = jnp.dtype(loaded.config.train.precision)
    gradient = jax.value_and_grad(make_loss(graph, dtype), has_aux=True)

    def step(carried: Any, x: Array, labels: Array, key: Array) -> Any:
        params, velocity, state = carried
        (value, new), slope = gradient(params, state, x, labels, key)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, slope)
        params = jax.tree.map(lambda p, v: p - RATE * v, params, velocity)
        return (params, velocity, new), value

    jitted = jax.jit(step, donate_argnums=0)
    params, state = split(graph)
    carried = (params, jax.tree.map(jnp.zeros_like, params), state)
    pictures, numbers = images_and_labels(graph, size)
    batches = [jnp.asarray(pictures[start : start + size]) for start in range(0, len(pictures), size)]
    labels = [jnp.asarray(numbers[start : start + size]) for start in range(0, len(numbers), size)]
    keys = list(jax.random.split(jax.random.key(0), len(batches)))

    def run(steps: int) -> None:
        nonlocal carried
        for i in range(steps):
            at = i % len(batches)
            carried, _ = jitted(carried, batches[at], labels[at], keys[at])
        jax.block_until_ready(carried)

    return f"jax {jax.__version__}, lax.conv_general_dilated and reduce_window", run
