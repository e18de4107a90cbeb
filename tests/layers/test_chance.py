"""Layers with chance in training: what they draw, what they expect, what they do at test."""

import jax
import numpy as np
import pytest

from tests.helpers.layers import apply, layer_of, normal, run_layer
from tests.helpers.networks import jit


@pytest.mark.parametrize(("per", "alike"), [("unit", ()), ("channel", (1, 2)), ("example", (1, 2, 3))])
def test_textbook_dropout(per, alike):
    x = np.ones((400, 5, 6, 8), np.float32)
    written = {"dropout": {"rate": 0.3, "per": per}}
    layer = layer_of(written)
    train = jit(lambda key: run_layer(layer, x, key=key)[0])
    y, other = (np.asarray(train(jax.random.key(seed))) for seed in range(2))
    np.testing.assert_array_equal(apply(written, x), x)  # off at test
    assert y.mean() == pytest.approx(1, abs=0.1)  # expectation unchanged
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], atol=1e-6)
    mixed = y.min(alike) != y.max(alike) if alike else y != y.mean()
    assert mixed.any() == (not alike)  # whole maps or examples at a time
    assert (other != y).any()


def test_textbook_stochastic_pooling():
    """The paper's example, a 2x2 window of (1.6, 0, 0, 2.4): drawn with 0.4 and 0.6, at test 0.4*1.6 + 0.6*2.4."""
    window = np.array([1.6, 0, 0, 2.4], np.float32).reshape(1, 2, 2, 1)
    assert apply({"stochastic_pool": 2}, window).item() == pytest.approx(0.4 * 1.6 + 0.6 * 2.4)
    many = np.tile(window, (20_000, 1, 1, 1))
    drawn = apply({"stochastic_pool": 2}, many, jax.random.key(0)).ravel()
    assert set(np.unique(drawn)) == {np.float32(1.6), np.float32(2.4)}
    assert (drawn == np.float32(2.4)).mean() == pytest.approx(0.6, abs=0.02)


def test_textbook_stochastic_pooling_expects_its_test_mode():
    x = np.abs(normal((1, 5, 5, 2)))
    x[0, :3, :3] = 0  # a window of zeros gives 0
    settings = {"stochastic_pool": {"kernel": 3, "stride": 2}}
    drawn = apply(settings, np.tile(x, (20_000, 1, 1, 1)), jax.random.key(3))
    expected = apply(settings, x)[0]
    np.testing.assert_allclose(drawn.mean(0), expected, atol=0.02)
    assert expected[0, 0].tolist() == [0, 0]
    np.testing.assert_array_equal(apply({"stochastic_pool": 2}, -x), 0)  # what is below 0 counts as 0


def test_textbook_stochastic_pooling_sends_the_gradient_to_the_drawn_value():
    x, layer = np.abs(normal((4, 6, 6, 2))), layer_of({"stochastic_pool": 2})

    def total(x):
        y, _ = run_layer(layer, x, key=jax.random.key(0))
        return y.sum(), y

    gradient, y = jit(jax.grad(total, has_aux=True))(x)
    windows = np.asarray(gradient * x).reshape(4, 3, 2, 3, 2, 2).sum((2, 4))
    np.testing.assert_array_equal(windows, y)
    assert set(np.unique(gradient)) == {0, 1}
