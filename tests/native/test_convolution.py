"""The convolution kernels against their definition and PyTorch's."""

import functools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from cnncli.native import calls
from cnncli.sliding import Sliding


class Convolution(NamedTuple):
    """How a kernel slides, without the sizes that follow from the arrays."""

    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    groups: int


def convolution(x, kernel, bias, geometry):
    """The kernels' convolution."""
    stride, dilation, padding, groups = geometry
    taps = kernel.shape[:2]
    sides = zip(x.shape[1:3], taps, stride, dilation, padding, strict=True)
    out = tuple((n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, k, s, d, pad in sides)
    return calls.convolution(x, kernel, bias, Sliding(taps, stride, dilation, padding, out), groups)


def by_taps(x, kernel, bias, geometry):
    """The definition, a product for each tap. (XLA's own convolution has no gradient for every geometry: see ops.)"""
    padded = jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))
    groups, taps = geometry.groups, kernel.shape[:2]
    sides = zip(padded.shape[1:3], taps, geometry.stride, geometry.dilation, strict=True)
    out = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in sides]
    y = 0
    for tap in np.ndindex(taps):
        row, column = (slice(at * d, at * d + (n - 1) * s + 1, s)
                       for at, d, n, s in zip(tap, geometry.dilation, out, geometry.stride, strict=True))  # fmt: skip
        seen = padded[:, row, column].reshape(len(x), *out, groups, -1)
        each = kernel[tap].astype(x.dtype).reshape(kernel.shape[2], groups, -1)
        y = y + jnp.einsum("bhwgc,cgf->bhwgf", seen, each).reshape(len(x), *out, -1)
    return y + bias.astype(x.dtype).reshape(1, 1, 1, -1) if bias.size else y


def with_gradients(function, x, kernel, bias, geometry):
    """Outputs, then the gradients of images, kernel and bias for a grad_output that tells all outputs apart."""

    @jax.jit
    def all_of(x, kernel, bias):
        y, back = jax.vjp(lambda *arguments: function(*arguments, geometry), x, kernel, bias)
        grad_output = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).astype(jnp.bfloat16)  # exact in both types
        return y, *back(grad_output.reshape(y.shape).astype(y.dtype))

    return [np.asarray(each, np.float32) for each in all_of(x, kernel, bias)]


def agree(ours, theirs, tolerance):
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max(initial=0) <= tolerance * max(np.abs(other).max(initial=0), 1)


@st.composite
def cases(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    depthwise = draw(st.booleans()) and groups > 1
    inputs, outputs = (1, draw(st.integers(1, 2))) if depthwise else (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    taps = tuple(draw(st.integers(1, 5)) for _ in "hw")
    dilation, stride = (tuple(draw(st.sampled_from(some)) for _ in "hw") for some in ((1, 1, 2), (1, 1, 2, 3)))
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in "hw")
    spans = [(k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True)]
    sides = [max(1, span - sum(pad)) + draw(st.integers(0, 9)) for span, pad in zip(spans, padding, strict=True)]
    batch = draw(st.sampled_from([1, 2, 3, 7, 33]))
    geometry = Convolution(stride, dilation, padding, groups)
    return batch, sides, groups, inputs, outputs, taps, geometry, draw(st.booleans())


@st.composite
def minimal_filtering(draw):
    """Cases that Winograd's algorithm takes: 3x3, stride 1, vectors of channels, many 2x2 tiles."""
    groups = draw(st.sampled_from([1, 1, 2]))
    inputs, outputs = (16 * draw(st.integers(1, 3)) for _ in "io")
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in "hw")
    sides = [max(1, 3 - sum(pad)) + draw(st.integers(0, 13)) for pad in padding]
    tiles = math.prod((side + sum(pad) - 1) // 2 for side, pad in zip(sides, padding, strict=True))
    batch = 56 // tiles + draw(st.integers(1, 5))
    geometry = Convolution((1, 1), (1, 1), padding, groups)
    return batch, sides, groups, inputs, outputs, (3, 3), geometry, draw(st.booleans())


def arrays(case, kind=jnp.float32):
    batch, sides, groups, inputs, outputs, taps, geometry, biased = case
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((batch, *sides, groups * inputs)), kind)
    kernel = jnp.asarray(random.standard_normal((*taps, inputs, groups * outputs)), jnp.float32)
    return x, kernel, jnp.asarray(random.standard_normal(groups * outputs if biased else 0), jnp.float32), geometry


SAME, NONE = ((1, 1), (1, 1)), ((0, 0), (0, 0))


@settings(max_examples=25, deadline=None)
@example((5, [9, 9], 1, 3, 20, (3, 3), Convolution((1, 1), (1, 1), SAME, 1), True))  # a batch that does not divide
@example((1, [1, 1], 1, 1, 1, (1, 1), Convolution((1, 1), (1, 1), ((0, 0), (0, 0)), 1), False))
@example((4, [7, 7], 6, 1, 1, (3, 3), Convolution((2, 2), (1, 1), SAME, 6), False))  # depthwise
@example((2, [3, 3], 1, 2, 2, (3, 3), Convolution((1, 1), (1, 1), ((2, 2), (2, 2)), 1), True))  # full
@example((20, [28, 28], 1, 1, 6, (5, 5), Convolution((1, 1), (1, 1), ((2, 2), (2, 2)), 1), True))  # LeNet-5's
@example((15, [14, 14], 1, 6, 16, (5, 5), Convolution((1, 1), (1, 1), ((0, 0), (0, 0)), 1), True))
@given(cases())
def test_like_the_definition(case):
    agree(with_gradients(convolution, *arrays(case)), with_gradients(by_taps, *arrays(case)), 1e-5)


@settings(max_examples=25, deadline=None)
@example((3, [32, 32], 1, 16, 16, (3, 3), Convolution((1, 1), (1, 1), SAME, 1), True))
@example((57, [1, 1], 1, 16, 48, (3, 3), Convolution((1, 1), (1, 1), SAME, 1), True))  # one pixel, one tile
@example((2, [13, 13], 1, 256, 64, (3, 3), Convolution((1, 1), (1, 1), SAME, 1), False))
@example((2, [13, 13], 2, 64, 48, (3, 3), Convolution((1, 1), (1, 1), SAME, 2), True))  # AlexNet's two groups
@given(minimal_filtering())
def test_minimal_filtering_like_the_definition(case):
    agree(with_gradients(convolution, *arrays(case)), with_gradients(by_taps, *arrays(case)), 1e-5)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.one_of(cases(), minimal_filtering()))
def test_like_the_definition_at_length(case):
    agree(with_gradients(convolution, *arrays(case)), with_gradients(by_taps, *arrays(case)), 1e-5)


@settings(max_examples=12, deadline=None)
@given(st.one_of(cases(), minimal_filtering()))
def test_bfloat16_within_its_precision(case):
    """Against float32 on the same rounded images: what is added up in float32 is rounded once (2^-9) or twice."""
    x, kernel, bias, geometry = arrays(case, jnp.bfloat16)
    rounded = kernel.astype(jnp.bfloat16).astype(jnp.float32)
    ours = with_gradients(convolution, x, kernel, bias, geometry)
    theirs = with_gradients(by_taps, x.astype(jnp.float32), rounded, bias, geometry)
    agree(ours, theirs, 2**-8)


@st.composite
def far_padding(draw):
    """Kernels up to 11x11, padding up to a whole kernel and more: taps and outputs that see padding alone."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 16]))
    inputs, outputs = (1, 1) if groups == 16 else (draw(st.sampled_from([1, 3, 16])), draw(st.sampled_from([1, 8, 16])))
    taps, stride = (tuple(draw(st.integers(1, most)) for _ in "hw") for most in (11, 4))
    dilation = tuple(1 if s > 1 else draw(st.integers(1, 2)) for s in stride)
    padding, sides = [], [draw(st.integers(1, 9)) for _ in "hw"]
    for side, k, d in zip(sides, taps, dilation, strict=True):
        span = (k - 1) * d + 1
        before = draw(st.integers(0, span + 1))
        padding.append((before, max(draw(st.integers(0, span + 1)), span - side - before)))
    geometry = Convolution(stride, dilation, tuple(padding), groups)
    return draw(st.integers(1, 3)), sides, groups, inputs, outputs, taps, geometry, draw(st.booleans())


@functools.cache
def nan_everywhere(groups, channels):
    """Leaves NaN in the memory that the kernels keep from call to call."""
    x, y = (jnp.full((1, n, n, groups * c), jnp.nan, jnp.bfloat16) for n, c in ((20, channels), (10, 16)))
    sliding = Sliding((11, 11), (1, 1), (1, 1), NONE, (10, 10))
    return jax.jit(lambda: calls.weight_gradient(x, y, (11, 11, channels, 16 * groups), (0,), sliding, groups))


NARROW = Convolution((1, 4), (1, 1), ((2, 2), (3, 3)), 1)  # two columns, four phases of the stride: two without a pixel


def hold_against_float64(case, kind):
    """All passes on numbers that bfloat16 holds, against PyTorch's."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    batch, sides, groups, inputs, outputs, taps, geometry, biased = case
    random, shape = np.random.default_rng(0), (*taps, inputs, groups * outputs)
    drawn = lambda *shape: random.standard_normal(shape).astype(jnp.bfloat16).astype(np.float32)  # noqa: E731
    x, kernel, bias = drawn(batch, *sides, groups * inputs), drawn(*shape), drawn(shape[-1] if biased else 0)
    leaves = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in (x, kernel, bias)]
    (top, bottom), (left, right) = geometry.padding
    padded = torch.nn.functional.pad(leaves[0].movedim(-1, 1), (left, right, top, bottom))
    first = leaves[1].movedim((3, 2), (0, 1)).contiguous()
    y = torch.nn.functional.conv2d(padded, first, None, geometry.stride, 0, geometry.dilation, groups).movedim(1, -1)
    y = y + leaves[2] if biased else y
    grad_output = drawn(*y.shape)
    y.backward(torch.tensor(grad_output, dtype=torch.float64))
    theirs = [y.detach().numpy(), *(each.grad.numpy() if each.numel() else np.zeros(0) for each in leaves)]

    @jax.jit
    def all_of(x, kernel, bias, grad_output):
        y, back = jax.vjp(lambda *arguments: convolution(*arguments, geometry), x, kernel, bias)
        return y, *back(grad_output)

    nan_everywhere(groups, inputs)()
    ours = all_of(x.astype(kind), kernel, bias, grad_output.astype(kind))
    ours = [np.asarray(each, np.float64) for each in ours]
    agree(ours[:2], theirs[:2], 1e-5 if kind == jnp.float32 else 2**-8)
    agree(ours[2:], theirs[2:], 1e-5)  # the grads of weights are float32 in both


@settings(max_examples=6, deadline=None)
@example((2, [5, 2], 1, 16, 16, (5, 7), NARROW, True), jnp.bfloat16)
@example((2, [5, 2], 16, 1, 1, (5, 7), NARROW._replace(groups=16), True), jnp.bfloat16)
@given(far_padding(), st.sampled_from([jnp.float32, jnp.bfloat16]))
def test_padding_beyond_the_map_against_float64(case, kind):
    hold_against_float64(case, kind)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(far_padding(), st.sampled_from([jnp.float32, jnp.bfloat16]))
def test_padding_beyond_the_map_against_float64_at_length(case, kind):
    hold_against_float64(case, kind)


@pytest.mark.parametrize(
    ("groups", "stride", "padding", "dilation"), [(1, 1, 0, 1), (1, 2, 3, 1), (4, 1, 1, 2), (12, 2, 1, 1)]
)
def test_like_pytorch(groups, stride, padding, dilation):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(1)
    x = random.standard_normal((5, 14, 15, 12), np.float32)
    kernel = random.standard_normal((3, 3, 12 // groups, 24), np.float32)
    bias = random.standard_normal(24, np.float32)
    geometry = Convolution((stride,) * 2, (dilation,) * 2, ((padding,) * 2,) * 2, groups)
    ours = with_gradients(convolution, jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(bias), geometry)
    there = [torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(kernel.transpose(3, 2, 0, 1)), torch.tensor(bias)]
    for each in there:
        each.requires_grad_()
    y = torch.nn.functional.conv2d(*there, stride, padding, dilation, groups)
    grad_output = np.asarray(jnp.cos(jnp.arange(y.numel(), dtype=jnp.float32)).astype(jnp.bfloat16), np.float32)
    grad_output = grad_output.reshape(ours[0].shape)
    y.backward(torch.tensor(grad_output.transpose(0, 3, 1, 2)))
    theirs = [y.detach().numpy().transpose(0, 2, 3, 1), there[0].grad.numpy().transpose(0, 2, 3, 1),
              there[1].grad.numpy().transpose(2, 3, 1, 0), there[2].grad.numpy()]  # fmt: skip
    agree(ours, theirs, 1e-5)


def test_sequences_are_maps_of_one_row():
    random = np.random.default_rng(2)
    x, kernel = jnp.asarray(random.standard_normal((3, 20, 4)), jnp.float32), jnp.ones((5, 4, 6))
    ours = calls.conv(x, kernel, Sliding((5,), (2,), (1,), ((1, 2),), (10,)), 1, None)
    theirs = lax.conv_general_dilated(x, kernel, (2,), ((1, 2),), dimension_numbers=("NWC", "WIO", "NWC"))
    assert np.allclose(ours, theirs, atol=1e-5)


def big():
    random = np.random.default_rng(3)
    x = jnp.asarray(random.standard_normal((64, 16, 16, 16)), jnp.float32)
    kernel = jnp.asarray(random.standard_normal((3, 3, 16, 32)), jnp.float32)
    return x, kernel, jnp.asarray(random.standard_normal(32), jnp.float32), Convolution((1, 1), (1, 1), SAME, 1)


def test_sums_are_the_same_every_time():
    first = with_gradients(convolution, *big())
    for _ in range(20):
        for one, other in zip(first, with_gradients(convolution, *big()), strict=True):
            assert (one == other).all()


def test_a_value_that_is_no_number_spreads_as_far_as_its_taps():
    """Nothing of a tile that is partly outside, or of another block, gets into a map."""
    x, kernel, bias, geometry = big()
    for kind in (jnp.float32, jnp.bfloat16):
        y = np.asarray(convolution(x.at[5, 0, 0, 3].set(jnp.nan).astype(kind), kernel, bias, geometry), np.float32)
        there = np.isnan(y).any(axis=3)
        assert there[5, :2, :2].all()
        assert there.sum() == 4


def test_several_threads_at_once():
    """Many programs that run at the same time, of several shapes, give what each gives alone."""
    x, kernel, bias, geometry = big()
    batches = [x[:size] for size in (1, 3, 8, 64)]
    alone = [with_gradients(convolution, batch, kernel, bias, geometry) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        run = functools.partial(with_gradients, convolution)
        futures = [pool.submit(run, batches[i % 4], kernel, bias, geometry) for i in range(64)]
        for i, future in enumerate(futures):
            for one, other in zip(alone[i % 4], future.result(), strict=True):
                assert (one == other).all()


def test_in_a_loop_and_over_a_further_axis():
    x, kernel, bias, geometry = big()
    images = jnp.stack([x[:2], x[2:4], x[4:6]])
    single = jnp.stack([convolution(each, kernel, bias, geometry) for each in images])
    assert (jax.vmap(lambda each: convolution(each, kernel, bias, geometry))(images) == single).all()
    looped = lax.scan(lambda carry, each: (carry, convolution(each, kernel, bias, geometry)), 0, images)[1]
    assert (looped == single).all()


def test_the_gradient_of_the_images_is_not_computed_where_nobody_asks():
    x, kernel, bias, geometry = big()
    step = jax.jit(jax.grad(lambda kernel: convolution(x, kernel, bias, geometry).sum()))
    text = step.lower(kernel).compile().as_text()
    assert "cnn_convolution_weight_gradient" in text
    assert "cnn_convolution_input_gradient" not in text


@pytest.mark.slow
def test_a_million_calls_leave_nothing_behind():
    resource = pytest.importorskip("resource")
    x, kernel, geometry = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2)), Convolution((1, 1), (1, 1), SAME, 1)

    @jax.jit
    def calls(x):
        return lax.fori_loop(0, 100_000, lambda _, x: convolution(x, kernel, jnp.zeros(2), geometry) * 0.1, x)

    def most():
        calls(x).block_until_ready()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB

    before = most()
    after = [most() for _ in range(10)][-1]
    assert after - before < 2048
