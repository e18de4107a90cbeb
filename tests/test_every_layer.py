"""Every layer is held to its own docstring: the example there must be true, and all else that a layer promises."""

import inspect
import math
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnncli.config.reader import read_value
from cnncli.graph import build
from cnncli.layers import LAYERS, Call, Composite, Entry
from cnncli.layers.activation import LinearActivation
from cnncli.model import Model, Weights
from cnncli.receptive_field import Field
from tests.helpers.layer_examples import EXAMPLES, Example
from tests.helpers.layers import draw
from tests.helpers.networks import jit

BATCH = 3
STEPS = {"sign", "hardlim"}  # their gradient is zero wherever it exists
SAMPLES = {"stochastic_pool"}  # in training a small change may draw another value
UNPUBLISHED = {"linear", "sigmoid", "tanh", "flatten", "block", "repeat", "upsample"}

every_layer = pytest.mark.parametrize("kind", EXAMPLES)


class Runner:
    """An example with weights and inputs: ``run(params, state, inputs, key)`` -> outputs and the new state."""

    def __init__(self, example: Example, dtype=jnp.float32) -> None:
        self.example, self.dtype = example, dtype
        if example.composite:  # behind a layer of its own, since `aux` adds none to the network
            self.model = Model(build((Entry(layer=LinearActivation()), example.entry), example.shapes[0]), dtype)
            self.params, self.state = jit(self.model.init)(jax.random.key(0))
        else:
            self.params, self.state = jit(partial(draw, example.resolved.weights))(jax.random.key(0))
        self.inputs = tuple(jnp.asarray(spread(shape, seed), dtype) for seed, shape in enumerate(example.shapes))

    def run(self, params, state, inputs, key=None):
        """Training if there is a key."""
        if self.example.composite:
            if key is None:
                values = self.model.values(Weights(params, state), inputs[0])
                return values[self.model.graph.output.name], state
            y, heads, state = self.model.apply_training(Weights(params, state), inputs[0], key)
            return sum((jnp.zeros_like(y) + head.sum() for _, head in heads), start=y), state
        call = Call(params, state, self.example.resolved.sliding, key is not None, key)
        return self.example.layer.apply(call, *inputs)

    def trains_as_it_tests(self):
        """Whether training runs the same program: then one of the two is enough."""
        test, train = (
            jax.make_jaxpr(lambda *given, key=key: self.run(*given, key)[0])(self.params, self.state, self.inputs)
            for key in (None, jax.random.key(1))
        )
        return str(test) == str(train)


def spread(shape, seed):
    """(BATCH, *shape) from -2 to 2: in every channel an even grid in random order, so that small steps make no ties."""
    rng, positions, channels = np.random.default_rng(seed), math.prod(shape[:-1]), shape[-1]
    grid = (np.arange(positions) + 0.5) / positions
    maps = [[rng.permutation(grid) + c / (channels + 1) / positions for c in range(channels)] for _ in range(BATCH)]
    values = np.array(maps)
    if len(shape) == 1:
        values = rng.permuted(np.tile((np.arange(channels) + 0.5) / channels, (BATCH, 1)), axis=1)
    return np.float32(4 * np.moveaxis(values.reshape(BATCH, channels, *shape[:-1]), 1, -1) - 2)


def moved(array, way, step):
    """``array + step * way``, without compiling anything."""
    return np.asarray(array) + np.float32(step) * way


def finite(array):
    """Whether every number is."""
    return np.isfinite(np.asarray(array)).all()


def noise(shape, seed=9):
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def weighted(y):
    """The sum of the outputs, each with a random sign and size."""
    return (y.astype(jnp.float32) * noise(y.shape)).sum()


@pytest.fixture(scope="module")
def runner():
    """One runner per layer."""
    return cache(lambda kind: Runner(EXAMPLES[kind]))


def test_jax_is_strict():
    assert jax.config.jax_numpy_dtype_promotion == "strict"
    assert jax.config.jax_numpy_rank_promotion == "raise"


@every_layer
def test_example_is_true(kind):
    example = EXAMPLES[kind]
    if example.composite:
        graph = build((Entry(layer=LinearActivation()), example.entry), example.shapes[0])
        assert (graph.output.shape, graph.params) == (example.out, example.params)
        return
    resolved = example.resolved
    assert resolved.shape == example.out
    assert sum(weight.size for weight in resolved.weights.values() if not weight.state) == example.params


@every_layer
@pytest.mark.parametrize("train", [False, True])
def test_output_has_the_shape_foretold(kind, train, runner):
    r = runner(kind)
    key = jax.random.key(1) if train else None
    y, state = jax.eval_shape(r.run, r.params, r.state, r.inputs, key)
    assert y.shape == (BATCH, *EXAMPLES[kind].out)
    assert y.dtype == jnp.float32
    known = {name: (array.shape, array.dtype) for name, array in r.state.items()}
    assert {name: (array.shape, array.dtype) for name, array in state.items()}.items() <= known.items()


@every_layer
def test_declared_weights_are_those_drawn(kind, runner):
    r = runner(kind)
    if r.example.composite:
        declared = {f"{node}.{name}": weight for node, name, weight in r.model.graph.weights()}
    else:
        declared = r.example.resolved.weights
    assert r.params.keys() | r.state.keys() == declared.keys()
    for name, weight in declared.items():
        array = (r.params if weight.trainable and not weight.state else r.state)[name]
        assert (array.shape, array.dtype) == (weight.shape, jnp.float32)
        assert finite(array)


@every_layer
@pytest.mark.parametrize("train", [False, True])
def test_gradient_is_that_of_finite_differences(kind, train, runner):
    r, key = runner(kind), jax.random.key(1) if train else None
    if train and r.trains_as_it_tests():
        return

    @jit
    @partial(jax.grad, argnums=(0, 1), has_aux=True)
    def differentiate(params, inputs):
        y = r.run(params, r.state, inputs, key)[0]
        return weighted(y), y

    point = (r.params, r.inputs)
    gradient, _ = differentiate(*point)
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradient)]
    assert all(map(finite, leaves))
    size = math.sqrt(sum(np.square(leaf).sum() for leaf in leaves))
    if kind in STEPS:
        assert size == 0
        return
    assert size > 0
    if kind in SAMPLES and train:
        return
    step, rng = 2.0**-12, np.random.default_rng(2)
    way = jax.tree.map(lambda leaf: rng.choice(np.array([-1, 1], np.float32), leaf.shape), gradient)
    ahead, behind = (
        np.asarray(differentiate(*jax.tree.map(partial(moved, step=s), point, way))[1], np.float64)
        for s in (step, -step)
    )
    measured = ((ahead - behind) * noise(ahead.shape)).sum() / (2 * step)
    computed = sum((g * w).sum() for g, w in zip(leaves, jax.tree.leaves(way), strict=True))
    assert abs(measured - computed) < 0.01 * size, (measured, computed, size)


@every_layer
def test_receptive_field_is_where_the_gradient_is(kind, runner):
    r = runner(kind)
    maps = [i for i, shape in enumerate(r.example.shapes) if len(shape) == max(map(len, r.example.shapes)) > 1]
    if kind in STEPS or not maps:
        return
    axes, out = len(r.example.shapes[maps[0]]) - 1, r.example.out
    field = r.model.graph.output.field if r.example.composite else _through(r.example, axes)
    if kind == "max_unpool":
        maps = [0]  # the pooled map tells places, not values
    for position in {tuple(n // 2 for n in out[:-1]), tuple(n - 1 for n in out[:-1])}:
        gradients = jit(jax.grad(lambda inputs, at=position: _at(r, inputs, at)))(r.inputs)
        for i in maps:
            seen = np.argwhere(np.abs(gradients[i]).sum((0, -1)) > 0)
            for axis in range(axes):
                at = position[axis] if position else 0
                low, high = (math.ceil(at * field.jump[axis] + end[axis]) for end in (field.low, field.high))
                expected = max(low, 0), min(high, r.example.shapes[i][axis] - 1)
                assert (seen[:, axis].min(), seen[:, axis].max()) == expected
                assert high - low < field.size[axis]


def _through(example: Example, axes: int) -> Field:
    return Field.of_input(axes).through(example.resolved.window)


def _at(r, inputs, position):
    """A number that follows from the outputs at one position alone."""
    y, _ = r.run(r.params, r.state, inputs)
    return weighted(y[(slice(None), *position)])


@every_layer
def test_written_out_it_reads_back(kind):
    entry = EXAMPLES[kind].entry
    written = entry.to_yaml()
    assert Entry.model_validate(written) == entry
    assert Entry.model_validate(read_value(as_yaml(written), "again").plain()) == entry


def as_yaml(value) -> str:
    """Plain data as flow-style YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, str):
        return f"'{value}'"
    return "null" if value is None else str(value).lower()


@every_layer
@pytest.mark.parametrize("train", [False, True])
def test_second_call_does_not_recompile(kind, train, runner):
    r = runner(kind)
    if train and r.trains_as_it_tests():
        return
    call = jit(r.run)
    state = r.state
    for seed in range(2):
        key = jax.random.key(seed) if train else None
        inputs = tuple(moved(x, np.float32(1), step=seed) for x in r.inputs)
        y, new = call(r.params, state, inputs, key)
        state = state | new
        assert finite(y)
    assert call._cache_size() == 1


@every_layer
@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_in_gives_bfloat16_out(kind, train):
    r = Runner(EXAMPLES[kind], jnp.bfloat16)
    if train and (r.example.composite or r.trains_as_it_tests()):
        return  # a model gives float32
    y, state = jit(r.run)(r.params, r.state, r.inputs, jax.random.key(1) if train else None)
    assert y.dtype == jnp.bfloat16
    assert finite(y)
    assert all(array.dtype == jnp.float32 for array in state.values())


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.kind)
def test_docstring_says_what_it_is(layer):
    text = inspect.getdoc(layer) or ""
    assert text.split("\n\n")[0].strip().endswith(".")
    assert "->" in text.split("Example:")[0], "no line with the shapes"
    assert ("Source:" in text) == (layer.kind not in UNPUBLISHED)
    for name, field in layer.model_fields.items():
        assert field.description, f"{layer.kind}.{name} has no description"
        if layer not in Composite.__subclasses__():  # whose fields hold layers
            assert (field.alias or name) in layer.model_json_schema(by_alias=True)["properties"]


def test_words_of_the_language_are_unique():
    kinds = [layer.kind for layer in LAYERS]
    words = [word for layer in LAYERS for word in layer.aliases]
    assert len(set(kinds)) == len(kinds)
    assert len(set(words)) == len(words)
    assert not set(kinds) & set(words)


def test_static_work_imports_no_jax():
    code = "import sys; from tests.helpers import layer_examples\n"
    code += "layer_examples.static_work(); heavy = [sys.modules.get(name) for name in ('jax', 'numpy')]\n"
    code += "sys.exit(any(module and type(module).__name__ != '_LazyModule' for module in heavy))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
