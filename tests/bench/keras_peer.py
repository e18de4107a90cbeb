"""The same networks in Keras on JAX, trained with ``fit``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import keras
from keras import layers, ops

from cnncli.config.load import Loaded
from cnncli.graph import INPUT, Graph, Node
from tests.bench.networks import MOMENTUM, RATE, ends, images_and_labels, pads


class Lrn(layers.Layer):
    """Local response normalisation, which Keras has not."""

    def __init__(self, n: int, k: float, alpha: float, beta: float) -> None:
        super().__init__()
        self.n, self.k, self.alpha, self.beta = n, k, alpha, beta

    def call(self, x: Any) -> Any:
        channels = x.shape[-1]
        padded = ops.pad(ops.square(x), [[0, 0]] * 3 + [[self.n // 2, (self.n - 1) // 2]])
        total = sum(padded[..., tap : tap + channels] for tap in range(self.n))
        return x * ops.power(self.k + self.alpha / self.n * total, -self.beta)


class PadChannels(layers.Layer):
    """Channels of zeros on both sides."""

    def __init__(self, to: int) -> None:
        super().__init__()
        self.to = to

    def call(self, x: Any) -> Any:
        more = self.to - x.shape[-1]
        return ops.pad(x, [[0, 0]] * 3 + [[more // 2, more - more // 2]])


def padded(node: Node, window: Any, x: Any, fill: Any) -> tuple[Any, str]:
    """``x`` and Keras's word for its padding: padded by a layer of its own where "same" would do otherwise."""
    wanted = pads(node)
    if not any(map(any, wanted)):
        return x, "valid"
    if window.stride == (1, 1) and all(2 * a == 2 * b == k - 1 for (a, b), k in zip(wanted, window.size, strict=True)):
        return x, "same"
    return fill(wanted)(x), "valid"


def conv(node: Node, x: Any) -> Any:
    layer, window = node.layer, node.resolved.sliding
    x, padding = padded(node, window, x, layers.ZeroPadding2D)
    options = {"strides": window.stride, "padding": padding, "use_bias": layer.bias}
    if layer.groups == layer.filters == x.shape[-1]:
        return layers.DepthwiseConv2D(window.size, **options)(x)
    return layers.Conv2D(layer.filters, window.size, groups=layer.groups, **options)(x)


def pool(node: Node, x: Any) -> Any:
    """Maxima here stand behind a ReLU, so that zeros may pad them."""
    window = node.resolved.sliding
    kind = layers.MaxPooling2D if node.layer.kind == "max_pool" else layers.AveragePooling2D
    x, padding = padded(node, window, x, layers.ZeroPadding2D)
    return kind(window.size, window.stride, padding)(x)


def fc(node: Node, x: Any) -> Any:
    return layers.Dense(node.layer.units, use_bias=node.layer.bias)(layers.Flatten()(x))


SIMPLE: dict[str, Callable[..., Any]] = {
    "conv": conv,
    "max_pool": pool,
    "avg_pool": pool,
    "fc": fc,
    "relu": lambda node, x: layers.ReLU()(x),
    "tanh": lambda node, x: layers.Activation("tanh")(x),
    "batch_norm": lambda node, x: layers.BatchNormalization(momentum=node.layer.momentum, epsilon=node.layer.epsilon)(
        x
    ),
    "dropout": lambda node, x: layers.Dropout(node.layer.rate)(x),
    "lrn": lambda node, x: Lrn(node.layer.n, node.layer.k, node.layer.alpha, node.layer.beta)(x),
    "global_avg_pool": lambda node, x: layers.GlobalAveragePooling2D()(x),
    "pad_channels": lambda node, x: PadChannels(node.layer.to)(x),
    "add": lambda node, *parts: layers.Add()(list(parts)),
    "concat": lambda node, *parts: layers.Concatenate()(list(parts)),
    "softmax": lambda node, x: layers.Activation("linear", dtype="float32")(x),  # the loss has it
}


def model_of(graph: Graph) -> Any:
    """A functional model of the graph, one output per end."""
    values = {INPUT: layers.Input(graph.input_shape)}
    for node in graph.nodes:
        values[node.name] = SIMPLE[node.layer.kind](node, *(values[name] for name in node.inputs))
    return keras.Model(values[INPUT], [values[name] for name in ends(graph)])


def make(loaded: Loaded) -> tuple[str, Callable[[int], None]]:
    """(what it is, ``run(steps)`` that returns when they are done)."""
    graph, size = loaded.graph, loaded.config.train.batch_size
    low = loaded.config.train.precision == "bfloat16"
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if low else "float32")
    model, weights = model_of(graph), list(ends(graph).values())
    assert model.count_params() >= graph.trainable_params
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE, MOMENTUM), [loss] * len(weights), loss_weights=weights)
    images, labels = images_and_labels(graph, size)
    most = len(images) // size

    def run(steps: int) -> None:
        epochs, rest = divmod(steps, most)
        for batches, times in ((most, epochs), (rest, 1)):
            if batches and times:
                x, y = images[: batches * size], labels[: batches * size]
                model.fit(x, [y] * len(weights), batch_size=size, epochs=times, shuffle=False, verbose=0)

    return f"keras {keras.__version__} on {keras.backend.backend()}", run
