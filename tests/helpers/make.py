"""Layers, networks and numbers for tests."""

import math

import jax
import numpy as np
from networks import jit

from cnncli.graph import Graph, build
from cnncli.layers import Call, Entry, Layer, Shape, Weight
from cnncli.layers.base import name_hash
from cnncli.model import Model, Weights


def layer_of(written) -> Layer:
    """A layer from its YAML as plain data."""
    return Entry.model_validate(written).layer


def network(*written, shape: Shape) -> Model:
    """A network from its YAML as plain data."""
    return Model(build(tuple(Entry.model_validate(each) for each in written), shape))


def normal(shape: Shape, seed: int = 0) -> np.ndarray:
    """Standard normal numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def drawn(weight: Weight, seed: int = 0) -> np.ndarray:
    """Random numbers for a declared weight, small enough that sums stay about 1. Compiles nothing."""
    return normal(weight.shape, seed) / np.float32(math.sqrt(max(weight.fans[0], 1)))


def weights_of(graph: Graph) -> Weights:
    """Random numbers for every parameter of a network; running statistics start as they do."""
    params, state = {}, {}
    for seed, (node, name, weight) in enumerate(graph.weights()):
        start = np.full(weight.shape, weight.init.kind == "ones", np.float32)
        kept = weight.state or not weight.trainable
        (state if kept else params)[f"{node}.{name}"] = start if weight.state else drawn(weight, seed)
    return Weights(params, state)


def run_layer(layer: Layer, *inputs, params=None, state=None, train=False, key=None):
    """A layer's output and new state for ``inputs`` (B, *shape) each. ``key``: in training."""
    sliding = layer.resolve(*(x.shape[1:] for x in inputs)).sliding
    return layer.apply(Call(params or {}, state or {}, sliding, train or key is not None, key), *inputs)


def init_layer(layer: Layer, *shapes: Shape, seed: int = 0) -> Weights:
    """First values of a layer's arrays, for inputs of ``shapes``."""
    return draw(layer.resolve(*shapes).weights, jax.random.key(seed))


def draw(declared: dict[str, Weight], key) -> Weights:
    """First values of declared arrays, each from the key of its name."""
    params, state = {}, {}
    for name, weight in declared.items():
        array = weight.init.draw(jax.random.fold_in(key, name_hash(name)), weight.shape, weight.fans)
        (params if weight.trained else state)[name] = array
    return Weights(params, state)


def apply(written, x, key=None, state=None, **params) -> np.ndarray:
    """A layer's outputs. ``key``: in training."""
    layer = layer_of(written)
    x = np.asarray(x, np.float32)

    @jit
    def run(x, key):
        return run_layer(layer, x, params=params, state=state, key=key)[0]

    return np.asarray(run(x, key))
