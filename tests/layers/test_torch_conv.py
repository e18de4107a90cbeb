"""Convolutions and their relatives against PyTorch: values, gradients of input and weights."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnncli.errors import ShapeError
from tests.helpers.layers import apply, layer_of, normal
from tests.helpers.pytorch import few, kernel_first, same_function, torch

F = torch.nn.functional
CONV = {1: F.conv1d, 2: F.conv2d}
TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d}
small = st.integers(1, 3)


@st.composite
def problems(draw, words=True):
    """A convolution's settings and an input that may or may not fit it."""
    axes, groups = draw(st.integers(1, 2)), draw(small)
    each = st.tuples(*[small] * axes)
    pads = st.sampled_from([0, 1, 2])
    if words:
        pairs = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * axes)
        pads = st.sampled_from(["valid", "same", "full"]) | pads | pairs
    settings = {
        "filters": groups * draw(small), "kernel": draw(st.tuples(*[st.integers(1, 4)] * axes)),
        "stride": draw(each), "dilation": draw(each), "groups": groups, "bias": draw(st.booleans()),
        "padding": draw(pads),
    }  # fmt: skip
    return settings, (2, *draw(st.tuples(*[st.integers(1, 9)] * axes)), groups * draw(small))


def per_axis(value, axes):
    return (value,) * axes if isinstance(value, int) else value


def sides(settings, sizes):
    """Padding in pairs, by the definition of each word."""
    spans = [(k - 1) * d + 1 for k, d in zip(settings["kernel"], settings["dilation"], strict=True)]
    padding = settings["padding"]
    if padding == "valid":
        return [(0, 0)] * len(spans)
    if padding == "full":
        return [(span - 1, span - 1) for span in spans]
    if padding == "same":
        totals = [max((math.ceil(n / s) - 1) * s + span - n, 0)
                  for n, s, span in zip(sizes, settings["stride"], spans, strict=True)]  # fmt: skip
        return [(total // 2, total - total // 2) for total in totals]
    return [each if isinstance(each, tuple) else (each, each) for each in per_axis(padding, len(spans))]


WIDE = [  # padding wider than the kernel, and pixels left over: XLA's own gradient read memory that is not the map's
    ({"kernel": (3, 3), "padding": (3, 4), "stride": (1, 1)}, (1, 2, 3, 1)),
    ({"kernel": (3, 3), "padding": ((3, 1), (2, 2)), "stride": (1, 1)}, (15, 1, 1, 16)),
    ({"kernel": (3, 2), "padding": ((4, 0), (2, 2)), "stride": (2, 3)}, (2, 6, 5, 3)),
]


@pytest.mark.parametrize(("settings", "shape"), WIDE)
def test_padding_wider_than_the_kernel(settings, shape):
    layer = layer_of({"conv": {"filters": 16, "dilation": 1, **settings}})
    pads = [side for pair in reversed(sides({**settings, "dilation": (1, 1)}, shape[1:-1])) for side in pair]

    def theirs(x, w):
        return F.conv2d(F.pad(x, pads), kernel_first(w["kernel"]), w["bias"], settings["stride"])

    same_function(layer, normal(shape), theirs)


@few
@given(problems())
def test_textbook_2d_convolution_and_1d_convolution_are_pytorchs(problem):
    settings, shape = problem
    layer = layer_of({"conv": settings})
    try:
        layer.resolve(shape[1:])
    except ShapeError:
        assume(False)
    pads = [side for pair in reversed(sides(settings, shape[1:-1])) for side in pair]

    def theirs(x, w):
        kernel = kernel_first(w["kernel"])
        return CONV[len(shape) - 2](F.pad(x, pads), kernel, w.get("bias"), settings["stride"], 0, settings["dilation"],
                                    settings["groups"])  # fmt: skip

    same_function(layer, normal(shape), theirs)


@pytest.mark.parametrize(("ours", "theirs"), [("reflect", "reflect"), ("edge", "replicate")])
def test_textbook_padding_modes_reflect_and_edge(ours, theirs):
    layer = layer_of({"conv": {"filters": 2, "padding": [[1, 2], [0, 2]], "padding_mode": ours}})

    def padded(x, w):
        return F.conv2d(F.pad(x, (0, 2, 1, 2), mode=theirs), kernel_first(w["kernel"]), w["bias"])

    same_function(layer, normal((2, 5, 6, 3)), padded)


def test_textbook_true_convolution_turns_the_kernel_half_round():
    same_function(layer_of({"conv": {"filters": 2, "flip": True}}), normal((2, 5, 6, 3)),
                  lambda x, w: F.conv2d(x, kernel_first(w["kernel"]).flip((-1, -2)), w["bias"]))  # fmt: skip


def test_connections_are_a_convolution_with_zeros_where_nothing_connects():
    table = [[0, 2], [1], [0, 1, 2], [2, 0]]

    def theirs(x, w):
        full, n = torch.zeros(4, 3, 3, 3), 0
        for filter, channels in enumerate(table):
            for channel in channels:
                full[filter, channel] = w["kernel"][:, :, 0, n]
                n += 1
        return F.conv2d(x, full, w["bias"], 2, 1)

    layer = layer_of({"conv": {"filters": 4, "connections": table, "stride": 2, "padding": 1}})
    assert layer.resolve((6, 5, 3)).weights["kernel"].shape == (3, 3, 1, 8)
    same_function(layer, normal((2, 6, 5, 3)), theirs)


@few
@given(problems(words=False), st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_textbook_transposed_convolution_is_pytorchs(problem, more):
    settings, shape = problem
    axes, groups = len(shape) - 2, settings["groups"]
    settings = settings | {"output_padding": more[:axes]}
    layer = layer_of({"conv_transpose": settings})
    try:
        layer.resolve(shape[1:])
    except ShapeError:
        assume(False)

    def theirs(x, w):
        *taps, channels, filters = w["kernel"].shape
        kernel = w["kernel"].reshape(*taps, channels, groups, filters // groups).movedim((-2, -3, -1), (0, 1, 2))
        kernel = kernel.reshape(-1, filters // groups, *taps).contiguous()
        return TRANSPOSE[axes](x, kernel, w.get("bias"), settings["stride"], settings["padding"], more[:axes], groups,
                               settings["dilation"])  # fmt: skip

    same_function(layer, normal(shape), theirs)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("padding", ["same", "valid", "full"])
def test_transposed_convolution_is_the_gradient_of_the_convolution(padding, kernel, stride):
    n = 5
    layer = layer_of({"conv_transpose": {"filters": 2, "kernel": kernel, "stride": stride, "padding": padding,
                                         "bias": False}})  # fmt: skip
    try:
        out = layer.resolve((n, n, 3)).shape
    except ShapeError:
        assert padding == "full"  # nothing is left
        return
    assert padding != "same" or out == (n * stride, n * stride, 2)
    forward = layer_of({"conv": {"filters": 3, "kernel": kernel, "stride": stride, "padding": padding, "bias": False}})
    if forward.resolve(out).shape[:2] != (n, n):
        return  # full: another size leads there too

    def theirs(x, w):
        before, after = forward.resolve(out).sliding.padding[0]
        image = torch.zeros(len(x), 2, *out[:2], requires_grad=True)
        backward = w["kernel"].movedim((2, 3), (0, 1))  # (3 filters, 2 channels, taps)
        y = F.conv2d(F.pad(image, (before, after, before, after)), backward, None, stride)
        return torch.autograd.grad(y, image, x, create_graph=True)[0]

    same_function(layer, normal((2, n, n, 3)), theirs)


@few
@given(problems())
def test_textbook_locally_connected_has_a_kernel_for_every_position(problem):
    settings, shape = problem
    settings = {key: value for key, value in settings.items() if key != "groups"}
    layer = layer_of({"locally_connected": settings})
    try:
        *out, filters = layer.resolve(shape[1:]).shape
    except ShapeError:
        assume(False)
    two = (*shape[1:-1], 1)[:2]  # a sequence is a map one pixel wide
    taps, gaps, steps = ((*settings[word], 1)[:2] for word in ("kernel", "dilation", "stride"))
    pads = [side for pair in reversed((*sides(settings, shape[1:-1]), (0, 0))[:2]) for side in pair]

    def theirs(x, w):
        x = F.pad(x.reshape(len(x), -1, *two), pads)
        patches = F.unfold(x, taps, gaps, 0, steps)  # (B, C * taps, positions)
        patches = patches.reshape(len(x), shape[-1], math.prod(taps), -1)
        y = torch.einsum("bctp,ptcf->bpf", patches, w["kernel"].reshape(-1, math.prod(taps), shape[-1], filters))
        y = y + w["bias"].reshape(-1, filters) if "bias" in w else y
        return y.reshape(len(x), *out, filters).movedim(-1, 1)

    same_function(layer, normal(shape), theirs)


def test_textbook_locally_connected_equals_convolution_when_kernels_are_tied():
    layer = layer_of({"locally_connected": {"filters": 2, "kernel": [2, 3], "padding": 1, "stride": [1, 2]}})
    positions = layer.resolve((5, 6, 3)).shape[:2]
    weights = layer.resolve((5, 6, 3)).weights
    assert sum(weight.size for weight in weights.values()) == math.prod(positions) * (2 * 3 * 3 * 2 + 2)
    kernel, bias = normal((2, 3, 3, 2)), normal((2,))
    x, settings = normal((2, 5, 6, 3)), {"filters": 2, "kernel": [2, 3], "padding": 1, "stride": [1, 2]}
    tied = {"kernel": np.tile(kernel, (*positions, 1, 1, 1, 1)), "bias": np.tile(bias, (*positions, 1))}
    ours = apply({"locally_connected": settings}, x, **tied)
    np.testing.assert_allclose(ours, apply({"conv": settings}, x, kernel=kernel, bias=bias), rtol=0, atol=1e-5)


def test_textbook_fully_connected_is_pytorchs():
    def theirs(x, w):
        return F.linear(x.movedim(1, -1).flatten(1), w["kernel"].T, w["bias"])

    same_function(layer_of({"fc": 7}), normal((3, 4, 5, 2)), theirs)
    same_function(layer_of({"fc": 7}), normal((3, 6)), theirs)
