"""Pools, and what undoes them, against PyTorch."""

import jax
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnncli.errors import ShapeError
from tests.helpers.layers import apply, layer_of, network, normal, random_weights, run_layer
from tests.helpers.networks import jit
from tests.helpers.pytorch import agree, few, last, same_function, torch

F = torch.nn.functional
MAX = {1: F.max_pool1d, 2: F.max_pool2d}
AVG = {1: F.avg_pool1d, 2: F.avg_pool2d}
LP = {1: F.lp_pool1d, 2: F.lp_pool2d}


@st.composite
def pools(draw, padded=True):
    """A pool's settings and an input that may or may not fit it: overlapping, with gaps, padded, floor and ceil."""
    axes = draw(st.integers(1, 2))
    kernel = draw(st.tuples(*[st.integers(1, 4)] * axes))
    settings = {
        "kernel": kernel,
        "stride": draw(st.tuples(*[st.integers(1, 3)] * axes)),
        "padding": tuple((p, p) for p in (draw(st.integers(0, k // 2)) if padded else 0 for k in kernel)),
        "rounding": draw(st.sampled_from(["floor", "ceil"])),
    }
    return settings, (2, *draw(st.tuples(*[st.integers(1, 9)] * axes)), 2)


def fitting(kind, settings, shape):
    layer = layer_of({kind: settings})
    try:
        layer.resolve(shape[1:])
    except ShapeError:
        assume(False)
    pads = tuple(before for before, _ in settings["padding"])
    return layer, pads, settings["rounding"] == "ceil"


@few
@given(pools(), st.booleans())
def test_textbook_pooling_max_is_pytorchs(problem, ties):
    settings, shape = problem
    layer, pads, ceil = fitting("max_pool", settings, shape)
    x = normal(shape)
    x = np.round(x) if ties else x  # many equal values: the gradient goes to the first of them
    same_function(layer, x, lambda x, w: MAX[len(pads)](x, settings["kernel"], settings["stride"], pads, 1, ceil))


@few
@given(pools(), st.booleans())
def test_textbook_pooling_average_is_pytorchs(problem, counted):
    settings, shape = problem
    layer, pads, ceil = fitting("avg_pool", settings | {"count_padding": counted}, shape)
    average = AVG[len(pads)]
    same_function(layer, normal(shape),
                  lambda x, w: average(x, settings["kernel"], settings["stride"], pads, ceil, counted))  # fmt: skip


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("n", [5, 6])
def test_pixels_that_only_ceil_lets_in_are_never_counted(n, counted):
    settings = {"kernel": 3, "stride": 2, "padding": 1, "rounding": "ceil", "count_padding": counted}
    same_function(layer_of({"avg_pool": settings}), normal((1, n, n, 1)),
                  lambda x, w: F.avg_pool2d(x, 3, 2, 1, True, counted))  # fmt: skip


ONNX = np.array([[[0.8580, 0.0786], [0.2692, 0.1537]], [[0.8816, 0.4353], [0.5772, 0.6623]],
                 [[0.9067, 0.9483], [0.5970, 0.7630]]], np.float32)  # fmt: skip


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"avg_pool": {"count_padding": True}}, [0.1511, 0.2841, 0.3572]),  # ONNX's own numbers
        ({"avg_pool": {}}, ONNX.mean((1, 2))),
        ({"max_pool": {}}, ONNX.max((1, 2))),
        ({"l2_pool": {}}, np.sqrt(np.square(ONNX).sum((1, 2)))),
        ({"stochastic_pool": {}}, np.square(ONNX).sum((1, 2)) / ONNX.sum((1, 2))),
        ({"subsample": {"of": "sum"}}, ONNX.sum((1, 2))),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_last_window_that_begins_in_the_padding_is_left_out(written, expected):
    """ONNX's node test ``averagepool_2d_ceil_last_window_starts_on_pad``: a window every 3 pixels of 1 + 2 + 1."""
    ((kind, fields),) = written.items()
    settings = {kind: fields | {"kernel": 3, "stride": 3, "padding": 1, "rounding": "ceil"}}
    assert layer_of(settings).resolve((2, 2, 3)).shape == (1, 1, 3)
    weights = {"coefficient": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)} if kind == "subsample" else {}
    y = apply(settings, np.moveaxis(ONNX, 0, -1)[None], **weights)
    assert y.shape == (1, 1, 1, 3)
    np.testing.assert_allclose(y[0, 0, 0], expected, atol=1e-4)  # ONNX writes 4 digits


@few
@given(pools(padded=False))
def test_textbook_pooling_l2_is_pytorchs(problem):
    settings, shape = problem
    settings["rounding"] = "floor"  # with ceil PyTorch scales partial windows up
    layer, pads, _ = fitting("l2_pool", settings, shape)
    bare = [each if len(pads) == 2 else each[0] for each in (settings["kernel"], settings["stride"])]
    same_function(layer, normal(shape), lambda x, w: LP[len(pads)](x, 2, *bare))


def test_textbook_pooling_global():
    x = normal((2, 5, 4, 3))
    same_function(layer_of("global_avg_pool"), x, lambda x, w: x.mean((2, 3)))
    same_function(layer_of("global_max_pool"), x, lambda x, w: F.adaptive_max_pool2d(x, 1)[..., 0, 0])
    same_function(layer_of("global_max_pool"), np.round(x), lambda x, w: F.adaptive_max_pool2d(x, 1)[..., 0, 0])


@pytest.mark.parametrize("size", [(5, 4), (1, 17)])
def test_windows_of_many_taps_find_the_first_maximum_too(size):
    x = np.round(normal((2, 9, 20, 2)))
    layer = layer_of({"max_pool": {"kernel": list(size), "stride": [2, 3]}})
    same_function(layer, x, lambda x, w: F.max_pool2d(x, size, (2, 3)))
    layer = layer_of({"avg_pool": {"kernel": list(size), "stride": [2, 3]}})
    same_function(layer, x, lambda x, w: F.avg_pool2d(x, size, (2, 3)))


def test_a_nan_is_the_maximum():
    x = normal((1, 4, 4, 1))
    x[0, 1, 2, 0] = np.nan
    assert np.isnan(apply({"max_pool": 2}, x)).sum() == 1


@pytest.mark.parametrize("of", ["average", "sum"])
def test_textbook_subsampling_has_two_parameters_per_channel(of):
    layer = layer_of({"subsample": {"kernel": 2, "of": of}})
    assert sum(weight.size for weight in layer.resolve((8, 6, 5)).weights.values()) == 2 * 5

    def theirs(x, w):
        pooled = F.avg_pool2d(x, 2) * (4 if of == "sum" else 1)
        return pooled * w["coefficient"].reshape(1, -1, 1, 1) + w["bias"].reshape(1, -1, 1, 1)

    same_function(layer, normal((2, 8, 6, 5)), theirs)


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (2, 6, 3)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_textbook_upsampling_is_pytorchs(scale, shape):
    smooth = "bilinear" if len(shape) == 4 else "linear"
    same_function(layer_of({"upsample": scale}), normal(shape), lambda x, w: F.interpolate(x, scale_factor=scale))
    same_function(layer_of({"upsample": {"scale": scale, "method": "bilinear"}}), normal(shape),
                  lambda x, w: F.interpolate(x, scale_factor=scale, mode=smooth, align_corners=False))  # fmt: skip


def test_upsampling_by_two_numbers():
    layer = layer_of({"upsample": {"scale": [2, 3], "method": "bilinear"}})
    same_function(layer, normal((1, 3, 4, 2)), lambda x, w: F.interpolate(x, scale_factor=(2, 3), mode="bilinear"))


@pytest.mark.parametrize("settings", [{"kernel": 2}, {"kernel": 3, "padding": 1, "stride": 3}, {"kernel": [1, 2]}])
def test_textbook_unpooling_puts_values_where_the_maxima_were(settings):
    model = network({"max_pool": settings, "name": "p"}, {"conv": {"filters": 2, "kernel": 1}}, {"max_unpool": "p"},
                    shape=(6, 6, 2))  # fmt: skip
    unpool, x = model.graph.output.layer, np.round(2 * normal((2, 6, 6, 2)))
    stride, padding = settings.get("stride", settings["kernel"]), settings.get("padding", 0)
    pool = torch.nn.MaxPool2d(settings["kernel"], stride, padding, return_indices=True)
    pooled, places = pool(torch.tensor(x).movedim(-1, 1))
    values = normal(last(pooled).shape, 3)
    leaf = torch.tensor(values, requires_grad=True)
    expected = torch.nn.MaxUnpool2d(settings["kernel"], stride, padding)(leaf.movedim(-1, 1), places, (6, 6))
    expected.backward(torch.ones_like(expected) * torch.arange(36.0).reshape(6, 6))
    pull = np.tile(np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1), (2, 1, 1, 2))

    @jit
    def run(values):
        y, back = jax.vjp(lambda v: run_layer(unpool, v, x)[0], values)
        return y, back(pull)[0]

    ours, gradient = run(values)
    agree(ours, last(expected))
    agree(gradient, leaf.grad)


@pytest.mark.parametrize("settings", [{"kernel": 2}, {"kernel": 3, "stride": 2, "padding": 1}])
def test_textbook_pool_then_unpool_puts_the_maxima_back(settings):
    model = network({"max_pool": settings, "name": "p"}, {"max_unpool": "p"}, shape=(6, 5, 2))
    x = normal((2, 6, 5, 2))
    y, _ = jit(model.apply)(random_weights(model.graph), x)
    pads = settings.get("padding", 0)
    pooled, places = F.max_pool2d(torch.tensor(x).movedim(-1, 1), settings["kernel"], settings.get("stride"), pads,
                                  return_indices=True)  # fmt: skip
    expected = np.zeros((2, 2, 30), np.float32)
    for b, c in np.ndindex(2, 2):
        expected[b, c, places[b, c].flatten()] = pooled[b, c].flatten()
    agree(y, np.moveaxis(expected.reshape(2, 2, 6, 5), 1, -1))
    assert set(np.unique(y)) <= {*np.unique(x), 0}
