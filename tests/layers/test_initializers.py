"""What weights start as: the spread that each scheme promises, its bounds, and nothing that depends on chance."""

import math

import numpy as np
import pytest

from tests.helpers.layers import init_layer, layer_of

FANS = 5 * 5 * 8, 5 * 5 * 64  # of a 5x5 kernel from 8 channels to 64


def kernel(init, kernel=5, channels=8, filters=64, seed=0):
    layer = layer_of({"conv": {"filters": filters, "kernel": kernel, "init": init}})
    return np.asarray(init_layer(layer, (9, 9, channels), seed=seed).params["kernel"])


@pytest.mark.parametrize(
    ("init", "std", "bound"),
    [
        ("he_normal", math.sqrt(2 / FANS[0]), 2.3),
        ("he_uniform", math.sqrt(2 / FANS[0]), math.sqrt(3)),
        ("glorot_normal", math.sqrt(2 / sum(FANS)), 2.3),
        ("glorot_uniform", math.sqrt(2 / sum(FANS)), math.sqrt(3)),
        ("lecun_normal", math.sqrt(1 / FANS[0]), 2.3),
        ("lecun_uniform", math.sqrt(1 / FANS[0]), math.sqrt(3)),
        ({"normal": 0.3}, 0.3, 6),
        ({"truncated_normal": 0.3}, 0.3, 2.3),
        ({"uniform": 0.3}, 0.3 / math.sqrt(3), math.sqrt(3)),
    ],
    ids=str,
)
def test_random_weights_have_the_spread_promised(init, std, bound):
    weights = kernel(init)
    assert weights.std() == pytest.approx(std, rel=0.03)  # 12,800 numbers
    assert abs(weights.mean()) < 4 * std / math.sqrt(weights.size)
    assert np.abs(weights).max() <= bound * std * 1.001
    assert weights.dtype == np.float32


def test_orthogonal_filters_are_orthonormal():
    weights = kernel({"orthogonal": 2.0}).reshape(-1, 64)
    np.testing.assert_allclose(weights.T @ weights, 4 * np.eye(64), atol=1e-4)


def test_the_same_key_draws_the_same_and_another_key_another():
    np.testing.assert_array_equal(kernel("he_normal"), kernel("he_normal"))
    assert (kernel("he_normal") != kernel("he_normal", seed=1)).all()


@pytest.mark.parametrize(("init", "value"), [("zeros", 0), ("ones", 1), ({"constant": 0.5}, 0.5)])
def test_constants(init, value):
    assert (kernel(init) == value).all()


def test_a_new_array_moves_no_others_numbers():
    with_bias = init_layer(layer_of({"conv": {"filters": 3, "bias_init": {"normal": 1.0}}}), (5, 5, 2))
    without = init_layer(layer_of({"conv": {"filters": 3, "bias": False}}), (5, 5, 2))
    np.testing.assert_array_equal(with_bias.params["kernel"], without.params["kernel"])
    assert with_bias.params["bias"].std() > 0
