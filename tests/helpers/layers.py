"""Layers and networks from plain data, and random numbers for them."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from cnncli.graph import Graph, build
from cnncli.layers import Call, Entry, Layer, Shape, Weight
from cnncli.layers.base import name_hash
from cnncli.model import Model, Weights
from tests.helpers.networks import jit


def layer_of(written: Any) -> Layer:
    """A layer from its YAML as plain data."""
    return Entry.model_validate(written).layer


def network(*written: Any, shape: Shape) -> Model:
    """A network from its YAML as plain data."""
    return Model(build(tuple(Entry.model_validate(each) for each in written), shape))


def normal(shape: Shape, seed: int = 0) -> np.ndarray:
    """Standard normal numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def random_weight(weight: Weight, seed: int = 0) -> np.ndarray:
    """Random numbers for a declared weight, small enough that sums stay about 1. Compiles nothing."""
    return normal(weight.shape, seed) / np.float32(math.sqrt(max(weight.fans[0], 1)))


def random_weights(graph: Graph) -> Weights:
    """Random numbers for every parameter of a network; running statistics have their first values."""
    params: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for seed, (node, name, weight) in enumerate(graph.weights()):
        start = np.full(weight.shape, weight.init.kind == "ones", np.float32)
        kept = weight.state or not weight.trainable
        (state if kept else params)[f"{node}.{name}"] = start if weight.state else random_weight(weight, seed)
    return Weights(params, state)


def run_layer(
    layer: Layer, *inputs: Any, params: Any = None, state: Any = None, train: bool = False, key: jax.Array | None = None
) -> tuple[jax.Array, Any]:
    """A layer's output and new state for ``inputs`` (B, *shape) each; in training mode if there is a ``key``."""
    sliding = layer.resolve(*(x.shape[1:] for x in inputs)).sliding
    return layer.apply(Call(params or {}, state or {}, sliding, train or key is not None, key), *inputs)


def init_layer(layer: Layer, *shapes: Shape, seed: int = 0) -> Weights:
    """Initial values of a layer's arrays, for inputs of ``shapes``."""
    return draw(layer.resolve(*shapes).weights, jax.random.key(seed))


def draw(declared: dict[str, Weight], key: jax.Array) -> Weights:
    """Initial values of declared arrays, each from the key of its name."""
    params: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for name, weight in declared.items():
        array = weight.init.draw(jax.random.fold_in(key, name_hash(name)), weight.shape, weight.fans)
        (params if weight.trained else state)[name] = array
    return Weights(params, state)


def apply(
    written: Any, x: Any, key: jax.Array | None = None, state: dict[str, Any] | None = None, **params: Any
) -> np.ndarray:
    """A layer's output; in training mode if there is a ``key``."""
    layer = layer_of(written)
    x = np.asarray(x, np.float32)

    @jit
    def run(x: jax.Array, key: jax.Array | None) -> jax.Array:
        return run_layer(layer, x, params=params, state=state, key=key)[0]

    return np.asarray(run(x, key))
