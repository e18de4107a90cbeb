"""What is measured: networks of configs/ at the sizes of the goals, on random data in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cnncli.bundled import bundled_configs
from cnncli.config.load import Loaded, load
from cnncli.graph import Graph, Node

RATE, MOMENTUM = 0.001, 0.9
SAME_FOR_ALL = (
    "data.source={npz: none.npz}",  # never read
    "data.preprocess=[{scale: 255}]",
    "data.augment=[]",
    "train.loss=cross_entropy",
    f"train.optimizer={{sgd: {{lr: {RATE}, momentum: {MOMENTUM}}}}}",
    "train.schedule=constant",
)
BATCHES = 8  # of random images that the other frameworks go round


@dataclass(frozen=True)
class Case:
    """One network: its config, the batch, and what else is overridden."""

    config: str
    batch_size: int
    overrides: tuple[str, ...] = ()

    def loaded(self, precision: str, *more: str) -> Loaded:
        """The config as it is measured."""
        size = (f"train.batch_size={self.batch_size}", f"train.precision={precision}")
        return load(bundled_configs()[self.config], [*SAME_FOR_ALL, *size, *self.overrides, *more])


_RELU = [f"model.layers[{index}]={{relu: }}" for index in (1, 4, 7, 9)]
_POOL = [f"model.layers[{index}]={{max_pool: 2}}" for index in (2, 5)]
CASES = {
    "lenet5": Case("lenet5", 128),
    "lenet5-relu": Case("lenet5", 128, (*_RELU, *_POOL)),
    "resnet20": Case("resnet20", 128),
    "alexnet": Case("alexnet", 32),
    "googlenet": Case("googlenet", 16),
    "vgg16": Case("vgg16", 32, ("model.input=[64, 64, 3]",)),
    "resnet18": Case("resnet18", 64, ("model.input=[64, 64, 3]",)),
    "mobilenet": Case("mobilenet", 64, ("model.input=[64, 64, 3]",)),
}

# How many times as fast as each of the others we want to train.
_LARGE = {"torch-eager": 1.1, "torch-compiled": 1.0, "keras": 2.0, "lax": 2.0}
GOALS = {
    ("lenet5", "float32"): {"torch-eager": 2.0, "torch-compiled": 2.0, "keras": 5.0, "lax": 5.0},
    ("resnet20", "float32"): {"torch-eager": 1.4, "torch-compiled": 1.3, "keras": 4.0, "lax": 4.0},
    ("resnet20", "bfloat16"): {"torch-eager": 1.3, "torch-compiled": 1.1, "keras": 5.0, "lax": 5.0},
    **{(name, "float32"): _LARGE for name in ("alexnet", "googlenet", "vgg16", "resnet18", "mobilenet")},
}


def arrays(graph: Graph) -> dict[str, np.ndarray]:
    """The same numbers to begin with for every framework, by our names and in our layout."""
    random, found = np.random.default_rng(0), {}
    for node, name, weight in graph.weights():
        if name == "kernel":
            deviation = math.sqrt(2 / weight.fans[0])
            found[f"{node}.{name}"] = random.standard_normal(weight.shape, np.float32) * np.float32(deviation)
        else:
            found[f"{node}.{name}"] = np.full(weight.shape, name in ("scale", "var"), np.float32)
    return found


def images_and_labels(graph: Graph, batch_size: int, batches: int = BATCHES) -> tuple[np.ndarray, np.ndarray]:
    """Random (N, H, W, C) float32 between 0 and 1, and (N,) int32."""
    random, count = np.random.default_rng(1), batch_size * batches
    labels = random.integers(0, graph.output.shape[0], count, np.int32)
    return random.random((count, *graph.input_shape), np.float32), labels


def ends(graph: Graph) -> dict[str, float]:
    """Each output of training and its weight in the loss: the network's, then those of its auxiliary heads."""
    return {graph.output.name: 1.0, **{head.end: head.weight for head in graph.heads}}


def pads(node: Node) -> tuple[tuple[int, int], ...]:
    """(before, after) along each axis, of a convolution or pool."""
    return node.resolved.sliding.padding
