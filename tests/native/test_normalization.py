"""The batch normalisation kernel against its definition in float64, and layers that compute those behind them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncli.bundled import bundled_configs
from cnncli.config.load import load
from cnncli.model import Model, chains
from cnncli.native.calls import batch_norm


def exact(x, scale, bias, epsilon, add, relu):
    """The definition, in float64."""
    axes, wide = tuple(range(x.ndim - 1)), (1,) * (x.ndim - 1) + (-1,)
    mean, var = x.mean(axes), x.var(axes)
    y = (x - mean.reshape(wide)) / jnp.sqrt(var.reshape(wide) + epsilon)
    y = y if scale is None else y * scale.reshape(wide)
    y = y if bias is None else y + bias.reshape(wide)
    y = y if add is None else y + add
    return jax.nn.relu(y) if relu else y, mean, var


def exactly(given, relu):
    with jax.enable_x64(True):
        wide = {name: None if array is None else array.astype(jnp.float64) for name, array in given.items()}
        return with_gradients(exact, wide, relu)


def with_gradients(function, given, relu):
    present = [name for name, array in given.items() if array is not None]

    @jax.jit
    def all_of(arrays):
        def outputs(arrays):
            each = {**given, **arrays}
            return function(each["x"], each["scale"], each["bias"], 1e-3, each["add"], relu)

        (y, mean, var), back = jax.vjp(outputs, arrays)
        grad_output = jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
        return y, mean, var, back((grad_output, jnp.zeros_like(mean), jnp.zeros_like(var)))[0]

    found = all_of({name: given[name] for name in present})
    return [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(found)]


@st.composite
def cases(draw, kind=jnp.float32):
    channels = draw(st.sampled_from([1, 2, 3, 16, 17, 64, 130, 300]))
    shape = (draw(st.integers(1, 9)), *(draw(st.integers(1, 12)) for _ in range(draw(st.integers(0, 2)))), channels)
    random = np.random.default_rng(draw(st.integers(0, 9)))
    offset = draw(st.sampled_from([0.0, 1.0, 20.0]))
    some = {
        "x": random.standard_normal(shape) + offset,
        "scale": random.standard_normal(channels) if draw(st.booleans()) else None,
        "bias": random.standard_normal(channels) if draw(st.booleans()) else None,
        "add": random.standard_normal(shape) if draw(st.booleans()) else None,
    }
    kinds = {"x": kind, "add": kind}
    return {
        name: None if array is None else jnp.asarray(array, kinds.get(name, jnp.float32))
        for name, array in some.items()
    }, draw(st.booleans())


@settings(max_examples=25, deadline=None)
@given(cases())
def test_like_the_definition(case):
    arrays, relu = case
    for one, other in zip(with_gradients(batch_norm, arrays, relu), exactly(arrays, relu), strict=True):
        assert np.abs(one - other).max() <= 1e-5 * max(np.abs(other).max(), 1)


def test_many_rows_of_few_channels_are_exact():
    """A mean of 1,000 and a deviation of 1: what sums of squares in float32 lose."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((64, 32, 32, 3)) + 1000, jnp.float32)
    y, mean, var = batch_norm(x, None, None, 1e-5, None, False)
    exact = np.asarray(x, np.float64)
    assert np.allclose(mean, exact.mean((0, 1, 2)), rtol=1e-7)
    assert np.allclose(var, exact.var((0, 1, 2)), rtol=1e-5)
    assert np.allclose(y, (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-5), atol=2e-4)


def test_bfloat16_rounds_once():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((8, 9, 9, 24)), jnp.bfloat16)
    half = batch_norm(x, None, None, 1e-5, None, True)[0]
    full = batch_norm(x.astype(jnp.float32), None, None, 1e-5, None, True)[0]
    assert half.dtype == jnp.bfloat16
    assert (half == full.astype(jnp.bfloat16)).all()


def test_not_a_number_stays_one():
    x = jnp.ones((4, 4, 4, 2)).at[0, 0, 0, 1].set(jnp.nan)
    y = batch_norm(x, None, None, 1e-5, None, True)[0]
    assert jnp.isnan(y[..., 1]).all()
    assert not jnp.isnan(y[..., 0]).any()


@pytest.mark.parametrize("config", ["resnet20", "mobilenet"])
def test_chains_give_what_their_layers_give(config):
    size = [16, 16, 3] if config == "resnet20" else [32, 32, 3]
    loaded = load(bundled_configs()[config], ["data.source={npz: none.npz}", "data.preprocess=[]", "data.augment=[]",
                                      f"model.input={size}"])  # fmt: skip
    model, key = Model(loaded.graph), jax.random.key(1)
    found = chains(loaded.graph)
    assert len(found) == sum(node.layer.kind == "batch_norm" for node in loaded.graph.nodes)
    assert sum(bool(chain.add) for chain in found) == (9 if config == "resnet20" else 0)
    weights = model.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(2), (2, *size))
    chained, heads, _ = model.apply_training(weights, images, key)
    assert not heads
    single = model.values(weights, images, key)[loaded.graph.output.name]
    assert np.allclose(chained, single, atol=1e-5)
