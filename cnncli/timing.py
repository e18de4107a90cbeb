"""How fast a network trains and predicts on this machine, as a whole and layer by layer. Data is random, in memory.

The step is that of ``cnn train``, compiled and run by the same code. Layers are timed alone.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnncli.config.load import Loaded
from cnncli.config.schema import Config
from cnncli.data.splits import ArraySplit, Dataset
from cnncli.data.transforms.transform import shape_after
from cnncli.errors import ConfigError, ShapeError
from cnncli.graph import Graph, Node
from cnncli.layers.base import Call, Shape
from cnncli.native.library import kernels
from cnncli.ops.convolution import conv
from cnncli.sliding import Sliding
from cnncli.train.events import Events
from cnncli.train.prepare import Data, fit_constants
from cnncli.train.setup import Setup
from cnncli.train.state import TrainState
from cnncli.train.step import make_forward

STEPS, BYTES = 64, 1 << 28  # of random data: batches at most, and how large they may get together
FITTED = 256  # images that preprocessing is fitted on
REPEATS, REPEAT_SECONDS, LAYER_SECONDS = 5, 0.4, 0.1


@dataclass(frozen=True)
class LayerTime:
    """``forward``, ``backward``: seconds of a batch. ``flops``: of both together, None where no kernel is applied."""

    name: str
    forward: float
    backward: float
    flops: float | None


def measure(loaded: Loaded, events: Events) -> dict[str, Any]:
    """``cnn time``'s document. Rates are images per second, each the median of several repeats."""
    config = loaded.config
    if config.train.batch_size == "auto":
        raise ConfigError.of(
            "expected a number of images, got auto", "Try train.batch_size=128.", path="train.batch_size"
        )
    if config.train.precision == "auto":
        raise ConfigError.of(
            "expected one precision, got auto", "Try train.precision=bfloat16.", path="train.precision"
        )
    setup = make_setup(loaded)
    events.device(setup.place.describe())
    work = len(loaded.graph.nodes) + 4
    events.loading("compiling the step", 0, work)
    state = setup.init_state()
    setup.compile(state)
    share = config.train.batch_size // setup.place.mesh.devices.size  # of a batch, on one device
    layers = _layers(setup, state, share, lambda name, done: events.loading(f"timing {name}", 1 + done, work))
    events.loading("timing prediction", work - 3, work)
    predict = _predict_seconds(setup, state)
    events.loading("timing the step", work - 2, work)
    step = median(step_seconds(setup, state))
    events.loading("timing a matrix product", work - 1, work)
    peak, call = _peak_flops(setup.model.dtype), _seconds(jnp.negative, jnp.zeros(()))
    events.loading("timing", work, work)
    return {
        "name": config.name,
        "device": setup.place.describe(),
        "batch_size": config.train.batch_size,
        "precision": jnp.dtype(setup.model.dtype).name,
        "kernels": kernels().name,
        "compile_seconds": setup.compile_seconds,
        "step_ms": 1e3 * step,
        "images_per_second": {"train": config.train.batch_size / step, "predict": config.train.batch_size / predict},
        "peak_gflops": peak / 1e9,
        "call_ms": 1e3 * call,
        "layers": [_layer_document(each, step) for each in layers],
    }


def _layer_document(layer: LayerTime, step: float) -> dict[str, Any]:
    seconds = layer.forward + layer.backward
    return {
        "name": layer.name,
        "forward_ms": 1e3 * layer.forward,
        "backward_ms": 1e3 * layer.backward,
        "gflops": layer.flops / seconds / 1e9 if layer.flops else None,
        "share": seconds / step,
    }


def make_setup(loaded: Loaded) -> Setup:
    """A training of ``loaded`` on random images, at its first step."""
    config, graph = loaded.config, loaded.graph
    shape = stored_shape(config, graph)
    random = np.random.default_rng(config.seed)
    steps = max(2, min(STEPS, BYTES // (config.train.batch_size * int(np.prod(shape)))))
    count = steps * config.train.batch_size
    if len(shape) == 3:
        images = random.integers(0, 256, (count, *shape), np.uint8)
    else:
        images = random.standard_normal((count, *shape), np.float32)
    classes = max(graph.output.shape[0], 2)
    train = ArraySplit(images, random.integers(0, classes, count, np.int32))
    data = Data(Dataset(tuple(map(str, range(classes))), train), "", shape)
    constants = fit_constants(config, train.take(np.arange(min(count, FITTED))))
    return Setup(loaded, data, constants)


def stored_shape(config: Config, graph: Graph) -> Shape:
    """Shape of the images that augmentation and the network get, pixel steps done, without reading any data."""
    known = config.data.source.image_shape()
    for shape in ([shape_after(config.data.preprocess, known)] if known else []) + [graph.input_shape]:
        try:
            if shape_after(config.data.augment, shape) == graph.input_shape:
                return shape
        except ShapeError:
            continue
    return graph.input_shape


def step_seconds(setup: Setup, state: TrainState, repeats: int = REPEATS, least: float = REPEAT_SECONDS) -> Any:
    """Seconds of a step, once per repeat of about ``least`` seconds; ``state`` is used up."""
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        state, *_ = setup.advance(state, 0, 1)
    steps = max(1, min(round(least / (time.perf_counter() - start)), setup.per_epoch))
    for _ in range(repeats):
        start = time.perf_counter()
        state, *_ = setup.advance(state, 0, steps)
        yield (time.perf_counter() - start) / steps


def _predict_seconds(setup: Setup, state: TrainState) -> float:
    """Of a batch, through what ``cnn predict`` computes."""
    loss = setup.config.train.loss
    forward = make_forward(setup.config, setup.model)
    images = jax.device_put(setup.data.dataset.train.images[: setup.order.batch_size], setup.place.batch)

    def run(weights: Any, constants: Any, images: Any) -> Any:
        return loss.probabilities(forward(weights, constants, images))

    return _seconds(run, state.eval_weights, setup.train_data.constants, images, budget=REPEATS * REPEAT_SECONDS)


def _layers(setup: Setup, state: TrainState, size: int, progress: Callable[[str, int], None]) -> list[LayerTime]:
    """Every layer of the training step, on one device and ``size`` images. Layers that are alike are timed once."""
    graph, logits_of = setup.model.graph, setup.config.train.loss.logits_of
    taught = _taught(graph)
    ends = {graph.output.name, *(head.end for head in graph.heads)}
    found: dict[Any, LayerTime] = {}
    times = []
    for done, node in enumerate(graph.nodes):
        progress(node.name, done)
        left_out = node.layer.kind == logits_of and node.name in ends  # the loss trains what goes into it
        by_input = not left_out and any(name in taught for name in node.inputs)
        alike = (repr(node.layer), node.in_shapes, by_input)
        if alike not in found:
            found[alike] = _layer_time(node, state, size, setup.model.dtype, by_input)
        each = found[alike]
        times.append(LayerTime(node.name, each.forward, each.backward, each.flops))
    return times


def _taught(graph: Graph) -> set[str]:
    """Nodes whose value depends on a trained weight: only to them does a gradient go back."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.trainable_params or any(name in found for name in node.inputs):
            found.add(node.name)
    return found


def _layer_time(node: Node, state: TrainState, size: int, dtype: Any, by_input: bool) -> LayerTime:
    """One layer by itself: its arithmetic, then the same with its gradients."""
    names = {name: f"{node.name}.{name}" for name in node.weights}
    params = {name: _one_device(state.params[full]) for name, full in names.items() if full in state.params}
    kept = {name: _one_device(state.model_state[full]) for name, full in names.items() if full in state.model_state}
    inputs = tuple(_random((size, *shape), dtype) for shape in node.in_shapes)

    def forward(params: Any, kept: Any, inputs: Any, key: Any) -> Any:
        return node.layer.apply(Call(params, kept, node.resolved.sliding, train=True, key=key), *inputs)

    def both(params: Any, kept: Any, inputs: Any, key: Any, pull: Any) -> Any:
        def wanted(params: Any, back: Any) -> Any:
            return forward(params, kept, back if by_input else inputs, key)

        y, back, new = jax.vjp(wanted, params, inputs if by_input else (), has_aux=True)
        return y, new, back(pull)

    arguments = params, kept, inputs, jax.random.key(0)
    seconds = _seconds(forward, *arguments)
    backward = 0.0
    if params or by_input:
        pull = jax.tree.map(lambda leaf: _random(leaf.shape, leaf.dtype), jax.eval_shape(forward, *arguments)[0])
        backward = max(_seconds(both, *arguments, pull) - seconds, 0.0)
    flops = 2.0 * node.macs * size * (1 + bool(params) + by_input) if "kernel" in node.weights else None
    return LayerTime(node.name, seconds, backward, flops)


def _peak_flops(dtype: Any) -> float:
    """Operations per second of a large matrix product in ``dtype``: XLA's own, or as a 1x1 convolution if faster."""
    n = 2048 if jax.default_backend() == "cpu" else 8192
    a, b = _random((n, n), dtype), _random((n, n), dtype)
    dot = _seconds(jnp.matmul, a, b, budget=REPEAT_SECONDS)
    side = 32
    images, kernel = a.reshape(n // side**2, side, side, n), b[None, None]

    def product(x: Any, w: Any) -> Any:
        return conv(x, w, Sliding((1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)), (side, side)))

    return 2 * n**3 / min(dot, _seconds(product, images, kernel, budget=REPEAT_SECONDS))


def _one_device(array: Any) -> Any:
    return array.addressable_data(0)


def _random(shape: Shape, dtype: Any) -> Any:
    """Normal numbers, a block of them over and over: a large map would take seconds to draw."""
    block = np.random.default_rng(0).standard_normal(min(int(np.prod(shape)), 1 << 20), np.float32)
    return jnp.asarray(np.resize(block, shape), dtype)


def _seconds(run: Callable[..., Any], *arguments: Any, budget: float = LAYER_SECONDS) -> float:
    """Median over several calls, about ``budget`` seconds of them, each waited for.

    A call writes where the one before wrote, as in a loop of steps: fresh memory would take longer than the work.
    """

    @functools.partial(jax.jit, donate_argnums=0, keep_unused=True)
    def again(out: Any, *arguments: Any) -> Any:
        return run(*arguments)

    out = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(run, *arguments))

    def once() -> float:
        nonlocal out
        start = time.perf_counter()
        out = jax.block_until_ready(again(out, *arguments))
        return time.perf_counter() - start

    once()  # compiles
    expected = once()
    return median(once() for _ in range(max(3, min(int(budget / expected), 100))))
