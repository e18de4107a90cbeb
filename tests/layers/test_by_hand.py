"""The textbook's numbers, each worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnncli.layers.rbf import BITMAPS
from cnncli.losses import CrossEntropy
from cnncli.model import Weights
from tests.helpers.layers import apply, init_layer, layer_of, network, normal, run_layer
from tests.helpers.networks import jit


def params(layer, shape):
    return sum(weight.size for weight in layer.resolve(shape).weights.values() if not weight.state)


@pytest.mark.parametrize(
    ("settings", "shape", "out"),
    [
        ({"filters": 1, "kernel": 5}, (32, 32, 3), (28, 28, 1)),
        ({"filters": 2, "kernel": 5}, (32, 32, 3), (28, 28, 2)),
        ({"filters": 5, "kernel": 5}, (32, 32, 3), (28, 28, 5)),
        ({"filters": 1, "kernel": 3, "padding": 1}, (4, 4, 1), (4, 4, 1)),
        ({"filters": 1, "kernel": 5, "padding": 2}, (9, 9, 1), (9, 9, 1)),
        ({"filters": 1, "kernel": 3, "stride": 2, "padding": 1}, (7, 7, 1), (4, 4, 1)),
        ({"filters": 96, "kernel": 11, "stride": 4}, (227, 227, 3), (55, 55, 96)),
    ],
)
def test_textbook_2d_convolution_sizes(settings, shape, out):
    layer = layer_of({"conv": settings})
    assert layer.resolve(shape).shape == out


def test_textbook_2d_convolution_products():
    layer = layer_of({"conv": {"filters": 1, "kernel": 5}})
    assert layer.resolve((32, 32, 3)).macs == 28 * 28 * 75
    assert params(layer, (32, 32, 3)) == 75 + 1


def test_textbook_grey_example_gives_4():
    given = {"given": [[1, 0, 1], [0, 1, 0], [1, 0, 1]]}
    model = network({"conv": {"filters": 1, "kernel": 3, "init": given}}, shape=(3, 3, 1))
    window = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]], np.float32)
    y, _ = model.apply(model.init(jax.random.key(0)), window[None, ..., None])
    assert y.tolist() == [[[[4.0]]]]


def test_textbook_1d_convolution():
    x = [[[1], [2], [4], [7], [7]]]
    kernel = np.array([-1, 0, 1], np.float32).reshape(3, 1, 1)
    written = {"filters": 1, "kernel": 3, "bias": False}
    assert apply({"conv": written}, x, kernel=kernel).ravel().tolist() == [3, 5, 3]
    assert apply({"conv": written | {"stride": 2}}, x, kernel=kernel).ravel().tolist() == [3, 3]
    assert apply({"conv": written | {"flip": True}}, x, kernel=kernel).ravel().tolist() == [-3, -5, -3]
    assert apply({"conv": written | {"padding": "same"}}, x, kernel=kernel).ravel().tolist() == [2, 3, 5, 3, -7]


def test_textbook_fixed_filters():
    def kernel(init, size=3, channels=1, filters=1):
        layer = layer_of({"conv": {"filters": filters, "kernel": size, "init": init}})
        return np.asarray(init_layer(layer, (9, 9, channels)).params["kernel"])

    blur = kernel({"gaussian": {"sigma": 0.8}})[..., 0, 0]
    assert blur.sum() == pytest.approx(1)
    assert blur[1, 1] == blur.max()
    assert blur[0, 1] / blur[1, 1] == pytest.approx(np.exp(-1 / (2 * 0.8**2)))
    assert kernel({"sobel": "x"})[..., 0, 0].tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    assert kernel({"sobel": "y"})[..., 0, 0].tolist() == [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]
    assert kernel("laplacian")[..., 0, 0].tolist() == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    assert kernel("identity")[..., 0, 0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    three = kernel("laplacian", channels=2, filters=3)  # filter i sees channel i mod 2
    assert three[1, 1].tolist() == [[-4, 0, -4], [0, -4, 0]]


def test_given_numbers_may_be_the_whole_array():
    whole = normal((2, 2, 2, 3)).tolist()
    layer = layer_of({"conv": {"filters": 3, "kernel": 2, "init": {"given": whole}, "bias_init": {"given": [1, 2, 3]}}})
    drawn = init_layer(layer, (4, 4, 2)).params
    np.testing.assert_array_equal(drawn["kernel"], np.float32(whole))
    assert drawn["bias"].tolist() == [1, 2, 3]


def test_the_identity_passes_what_it_gets():
    x = normal((2, 5, 5, 4))
    for settings in ({}, {"groups": 4}, {"groups": 2}):
        written = {"conv": {"filters": 4, "padding": "same", "init": "identity", "bias": False} | settings}
        layer = layer_of(written)
        y = apply(written, x, **init_layer(layer, x.shape[1:]).params)
        np.testing.assert_allclose(y, x, atol=1e-6)
    dense = layer_of({"fc": {"units": 6, "init": "identity"}})
    y, _ = run_layer(dense, x[:, 0, 0, :1].repeat(6, 1), params=init_layer(dense, (6,)).params)
    np.testing.assert_allclose(y, x[:, 0, 0, :1].repeat(6, 1))


def test_textbook_fixed_filters_stay_as_they_are():
    model = network({"conv": {"filters": 1, "init": {"sobel": "x"}, "trainable": False}}, {"fc": 2}, shape=(5, 5, 1))
    weights = model.init(jax.random.key(0))
    assert {"conv1.kernel", "conv1.bias"} <= weights.state.keys()
    assert set(weights.params) == {"fc1.kernel", "fc1.bias"}
    _, after = model.apply(weights, normal((2, 5, 5, 1)), key=jax.random.key(1))
    np.testing.assert_array_equal(after["conv1.kernel"], weights.state["conv1.kernel"])
    assert model.graph.params - model.graph.trainable_params == 10


C3 = [
    [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 0], [5, 0, 1], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5],
    [3, 4, 5, 0], [4, 5, 0, 1], [5, 0, 1, 2], [0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5],
]  # fmt: skip


def test_lenet5_of_1998_has_60000_parameters():
    model = network(
        {"conv": {"filters": 6, "kernel": 5}, "name": "c1"}, {"subsample": 2, "name": "s2"}, "scaled_tanh",
        {"conv": {"filters": 16, "kernel": 5, "connections": C3}, "name": "c3"}, {"subsample": 2, "name": "s4"},
        "scaled_tanh", {"conv": {"filters": 120, "kernel": 5}, "name": "c5"}, "scaled_tanh", {"fc": 84, "name": "f6"},
        "scaled_tanh", "rbf", shape=(32, 32, 1),
    )  # fmt: skip
    counted = {node.name: node.trainable_params for node in model.graph.nodes if node.trainable_params}
    assert counted == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert model.graph.trainable_params == 60_000
    assert {node.name: node.macs for node in model.graph.nodes}["c3"] == 100 * 1500
    assert model.graph.output.shape == (10,)


def test_rbf_scores_are_minus_the_squared_distances_to_the_pictures():
    layer = layer_of("rbf")
    codes = np.asarray(init_layer(layer, (84,)).state["codes"])
    assert set(np.unique(codes)) == {-1, 1}
    rows = [line.split() for line in BITMAPS.strip().splitlines()]
    for digit, code in enumerate(codes):
        drawn = ["".join("#" if pixel > 0 else "." for pixel in row) for row in code.reshape(12, 7)]
        assert drawn == [row[digit] for row in rows]
    y, _ = run_layer(layer, codes, state={"codes": codes})
    apart = np.square(codes[:, None] - codes[None]).sum(-1)
    np.testing.assert_array_equal(y, -apart)
    assert np.min(apart + 1000 * np.eye(10)) >= 4 * 6  # any two pictures differ in six pixels at least


def test_textbook_pooling_gradient_of_max_goes_to_the_first_maximum_of_average_everywhere():
    x = np.array([[1, 3, 2, 2], [3, 0, 2, 2]], np.float32).reshape(1, 2, 4, 1)

    def gradient(written):
        layer = layer_of(written)
        total = jit(jax.grad(lambda x: run_layer(layer, x)[0].sum()))
        return np.asarray(total(x)).reshape(2, 4).tolist()

    assert gradient({"max_pool": 2}) == [[0, 1, 1, 0], [0, 0, 0, 0]]
    assert gradient({"avg_pool": 2}) == [[0.25] * 4] * 2
    assert gradient("global_max_pool") == [[0, 1, 0, 0], [0, 0, 0, 0]]


def test_textbook_pooling_is_per_depth_slice_and_has_no_parameters():
    x = normal((1, 4, 4, 3))
    for kind in ("max_pool", "avg_pool", "l2_pool"):
        layer = layer_of({kind: 2})
        assert not layer.resolve((4, 4, 3)).weights
        alone = [apply({kind: 2}, x[..., c : c + 1])[..., 0] for c in range(3)]
        np.testing.assert_array_equal(apply({kind: 2}, x), np.stack(alone, -1))


def test_textbook_activations_by_hand():
    x = np.linspace(-4, 4, 801, dtype=np.float32)[None]

    def slopes(written):
        layer = layer_of(written)
        return np.asarray(jit(jax.grad(lambda x: run_layer(layer, x)[0].sum()))(x))[0]

    assert slopes("sigmoid").max() == pytest.approx(1 / 4)
    assert not slopes("relu")[x[0] <= 0].any()
    assert (slopes("relu")[x[0] > 0] == 1).all()
    assert apply("scaled_tanh", [[1, -1]]).ravel().tolist() == pytest.approx([1, -1], abs=1e-4)
    assert apply("sign", [[-0.5, 0, 2]]).ravel().tolist() == [-1, 1, 1]
    assert apply("hardlim", [[-0.5, 0, 2]]).ravel().tolist() == [0, 1, 1]
    np.testing.assert_allclose(apply("softmax", [[0, np.log(3)]]), [[0.25, 0.75]], atol=1e-6)
    assert apply("linear", [[3, -2]]).tolist() == [[3, -2]]


@pytest.mark.parametrize("kind", ["sign", "hardlim"])
def test_textbook_activations_straight_through(kind):
    x = np.array([[-1.5, -0.5, 0.5, 1.5]], np.float32)

    def slope(written):
        layer = layer_of(written)
        total = jit(jax.grad(lambda x: run_layer(layer, x)[0].sum()))
        return np.asarray(total(x)).ravel().tolist()

    assert slope(kind) == [0, 0, 0, 0]
    assert slope({kind: {"straight_through": True}}) == [0, 1, 1, 0]
    assert layer_of(kind).note()
    assert not layer_of({kind: {"straight_through": True}}).note()
    np.testing.assert_allclose(apply({kind: {"straight_through": True}}, x), apply(kind, x), atol=1e-6)


def test_textbook_activations_maxout_of_two_linear_pieces_is_the_absolute_value():
    x = normal((5, 1))
    pieces = apply({"fc": {"units": 2, "bias": False}}, x, kernel=np.array([[1, -1]], np.float32))
    np.testing.assert_array_equal(apply({"maxout": 2}, pieces), np.abs(x))


def test_textbook_fully_connected():
    layer = layer_of({"fc": 300})
    assert params(layer, (784,)) == 784 * 300 + 300
    assert params(layer_of({"fc": {"units": 300, "bias": False}}), (28, 28, 1)) == 784 * 300


def test_textbook_softmax_cross_entropy_has_the_gradient_p_minus_y():
    z, labels = normal((4, 5)), np.arange(4)
    gradient = jit(jax.grad(lambda z: CrossEntropy().per_example(z, labels, 5).sum()))(z)
    np.testing.assert_allclose(gradient, apply("softmax", z) - np.eye(5)[:4], atol=1e-6)


def test_textbook_bias_without_it_a_perceptron_cannot_send_00_to_0():
    x = np.zeros((1, 2), np.float32)
    for seed in range(5):
        kernel = normal((2, 1), seed)
        assert apply({"fc": {"units": 1, "bias": False}}, x, kernel=kernel).item() == 0
    model = network({"fc": 1}, "hardlim", shape=(2,))
    weights = Weights({"fc1.kernel": jnp.ones((2, 1)), "fc1.bias": jnp.full((1,), -1.5)}, {})
    table = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    assert model.apply(weights, table)[0].ravel().tolist() == [0, 0, 0, 1]  # AND


@pytest.mark.parametrize("kind", ["conv", "conv_transpose", "locally_connected", "fc"])
def test_textbook_bias_is_optional_and_never_decayed(kind):
    main = "units" if kind == "fc" else "filters"
    shape = (5, 5, 2)
    without = layer_of({kind: {main: 3, "bias": False}}).resolve(shape).weights
    weights = layer_of({kind: {main: 3}}).resolve(shape).weights
    assert without.keys() == {"kernel"}
    assert {name: weight.decay for name, weight in weights.items()} == {"kernel": True, "bias": False}


@pytest.mark.parametrize(
    ("written", "shape", "macs"),
    [
        ({"conv": {"filters": 4, "stride": 2, "groups": 2}}, (9, 7, 6), 4 * 3 * 4 * 9 * 3),
        ({"conv": {"filters": 3, "kernel": 5, "padding": "same"}}, (10, 2), 10 * 3 * 5 * 2),
        ({"conv": {"filters": 2, "connections": [[0], [0, 1, 2]]}}, (5, 5, 3), 9 * 9 * 4),
        ({"locally_connected": 4}, (5, 5, 3), 9 * 9 * 3 * 4),
        ({"conv_transpose": {"filters": 4, "kernel": 2, "stride": 2}}, (5, 5, 3), 25 * 4 * 3 * 4),
        ({"fc": 10}, (5, 5, 3), 750),
        ({"avg_pool": 2}, (4, 4, 3), 48),
        ({"subsample": 2}, (4, 4, 3), 48 + 12),
        ({"max_pool": 2}, (4, 4, 3), 0),
        ("rbf", (84,), 840),
    ],
)  # fmt: skip
def test_multiply_adds(written, shape, macs):
    assert layer_of(written).resolve(shape).macs == macs


def test_resnets_shortcut_without_weights():
    x = normal((1, 4, 4, 2))
    y = apply({"pad_channels": 5}, apply({"max_pool": {"kernel": 1, "stride": 2}}, x))
    np.testing.assert_array_equal(y[..., 1:3], x[:, ::2, ::2])
    assert not y[..., [0, 3, 4]].any()
