"""Padding, sizes and fixed filters against SciPy."""

import numpy as np
import pytest
from scipy import ndimage, signal

from tests.helpers.layers import apply, init_layer, layer_of, normal


def run(settings, x, kernel):
    """A convolution of one map with one kernel."""
    written = {"conv": {"filters": 1, "kernel": list(kernel.shape), "bias": False} | settings}
    y = apply(written, x[None, ..., None], kernel=kernel.reshape(*kernel.shape, 1, 1))
    assert y.shape[1:] == layer_of(written).resolve((*x.shape, 1)).shape
    return y[0, ..., 0]


SIZES = [(3, 3), (2, 2), (4, 3), (1, 5), (5, 2)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["valid", "full"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_textbook_padding_modes_valid_and_full_are_scipys(mode, size, stride):
    x, kernel = normal((7, 9)), normal(size, 1)
    settings = {"padding": mode, "stride": stride}
    expected = signal.correlate2d(x, kernel, mode)[::stride, ::stride]
    np.testing.assert_allclose(run(settings, x, kernel), expected, atol=1e-5)
    expected = signal.convolve2d(x, kernel, mode)[::stride, ::stride]
    np.testing.assert_allclose(run(settings | {"flip": True}, x, kernel), expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("flip", [False, True])
def test_textbook_padding_modes_same_is_scipys(flip, size):
    """An even kernel needs one more pixel of padding on one side: SciPy puts it in front, frameworks behind."""
    x, kernel = normal((7, 9)), normal(size, 1)
    whole = signal.convolve2d(x, kernel) if flip else signal.correlate2d(x, kernel)
    before = [(k - 1) // 2 for k in size]  # padding before the map
    starts = [k - 1 - b for k, b in zip(size, before, strict=True)]
    expected = whole[starts[0] : starts[0] + 7, starts[1] : starts[1] + 9]
    ours = run({"padding": "same", "flip": flip}, x, kernel)
    assert ours.shape == x.shape
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    if all(k % 2 for k in size):
        scipys = (signal.convolve2d if flip else signal.correlate2d)(x, kernel, "same")
        np.testing.assert_allclose(ours, scipys, atol=1e-5)


@pytest.mark.parametrize("n", [5, 8, 9])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_textbook_padding_modes_sizes(n, k, stride):
    def out(padding):
        layer = layer_of({"conv": {"filters": 1, "kernel": k, "stride": stride, "padding": padding}})
        return layer.resolve((n, n, 1)).shape[0]

    assert out("valid") == (n - k) // stride + 1
    assert out("same") == -(-n // stride)
    assert out("full") == (n + k - 2) // stride + 1
    assert out(2) == (n + 4 - k) // stride + 1
    assert out([[1, 2], [1, 2]]) == (n + 3 - k) // stride + 1


@pytest.mark.parametrize(("mode", "theirs"), [("reflect", "mirror"), ("edge", "nearest"), ("zeros", "constant")])
def test_textbook_padding_modes_reflect_edge_and_zeros(mode, theirs):
    x, kernel = normal((7, 9)), normal((3, 5), 1)
    expected = ndimage.correlate(x, kernel, mode=theirs)
    np.testing.assert_allclose(run({"padding": "same", "padding_mode": mode}, x, kernel), expected, atol=1e-5)


def test_textbook_true_convolution_is_scipys_convolve2d_and_without_flip_its_correlate2d():
    x, kernel = normal((6, 6)), normal((3, 3), 1)
    np.testing.assert_allclose(run({"flip": True}, x, kernel), signal.convolve2d(x, kernel, "valid"), atol=1e-5)
    np.testing.assert_allclose(run({}, x, kernel), signal.correlate2d(x, kernel, "valid"), atol=1e-5)


def filtered(init, x, **settings):
    """``x`` (H, W, C) through a fixed filter in each channel."""
    fixed = {"filters": x.shape[-1], "init": init, "bias": False, "padding": "same", "trainable": False}
    params, state = init_layer(layer_of({"conv": fixed | settings}), x.shape)
    assert not params
    return apply({"conv": fixed | settings}, x[None], state=state)[0]


def test_textbook_fixed_filters_gaussian_is_scipys():
    x = normal((12, 10, 2))
    for channel in range(2):
        expected = ndimage.gaussian_filter(x[..., channel], 1.2, mode="constant", radius=3)
        ours = filtered({"gaussian": 1.2}, x, kernel=7)[..., channel]
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(("axis", "number"), [("x", 1), ("y", 0)])
def test_textbook_fixed_filters_sobel_is_scipys(axis, number):
    x = normal((8, 9, 3))
    for channel in range(3):
        expected = ndimage.sobel(x[..., channel], axis=number, mode="constant")
        np.testing.assert_allclose(filtered({"sobel": axis}, x)[..., channel], expected, atol=1e-4)


def test_textbook_fixed_filters_laplacian_is_scipys():
    x = normal((8, 9, 1))
    expected = ndimage.laplace(x[..., 0], mode="constant")
    np.testing.assert_allclose(filtered("laplacian", x)[..., 0], expected, atol=1e-4)
