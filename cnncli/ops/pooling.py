"""Pooling as reductions over strided slices, channels last.

``lax.reduce_window``'s gradient is slow on CPU; a chain of element-wise maxima over strided slices is ten times
faster there and fuses everywhere. Ties send the gradient to the first maximum, as the definition and PyTorch do.
Windows of many taps are reduced one axis after the other, the last first, which finds the same first maximum.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

from cnncli.native import calls
from cnncli.ops.windows import pad_with, taps

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key

    from cnncli.sliding import Sizes, Sliding

    Map = Float[Array, "B *spatial C"]
    Pooled = Float[Array, "B *out C"]

MANY_TAPS = 16


def max_pool(x: Map, sliding: Sliding) -> Pooled:
    """Maximum of each window; padding never wins."""
    return calls.max_pool(x, sliding) if calls.takes_max_pool(x, sliding) else _max_of_slices(x, sliding)


def sum_pool(x: Map, sliding: Sliding) -> Pooled:
    """Sum of each window; padding counts as 0."""
    return _sum(x, sliding).astype(x.dtype)


def avg_pool(x: Map, sliding: Sliding, count_padding: bool = False) -> Pooled:
    """Mean of each window over the pixels in it and, with ``count_padding``, over the zeros of the written padding."""
    total, padding = _sum(x, sliding), sliding.padding
    counted = sliding.written if count_padding else ((0, 0),) * len(padding)
    if counted == padding:
        return (total / math.prod(sliding.size)).astype(x.dtype)
    ones = pad_with(jnp.ones((1, *x.shape[1:-1], 1), jnp.float32), counted, 1)
    rest = tuple((a - c, b - d) for (a, b), (c, d) in zip(padding, counted, strict=True))
    return (total / _sum(ones, replace(sliding, padding=rest))).astype(x.dtype)


def global_avg(x: Map) -> Float[Array, "B C"]:
    """Mean over all positions, summed in float32."""
    return x.mean(tuple(range(1, x.ndim - 1)), dtype=jnp.float32).astype(x.dtype)


def global_max(x: Map) -> Float[Array, "B C"]:
    """Maximum over all positions. The gradient goes to the first one."""
    pixels = x.reshape(x.shape[0], -1, x.shape[-1])  # (B, H*W, C)
    first = jnp.argmax(pixels, axis=1, keepdims=True)
    return jnp.take_along_axis(pixels, first, axis=1)[:, 0]


def norm_pool(x: Map, sliding: Sliding) -> Pooled:
    """Euclidean norm of each window, with gradient 0 where it is 0."""
    total = _sum(jnp.square(x.astype(jnp.float32)), sliding)
    some = total > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, total, 1)), 0).astype(x.dtype)


def max_unpool(x: Pooled, pooled: Map, sliding: Sliding) -> Map:
    """``x`` where ``max_pool`` found the maxima of ``pooled``, zeros elsewhere.

    Where overlapping windows share a maximum, the mean of their values.
    """
    _, put_back = jax.vjp(lambda p: _max_of_slices(p, sliding), lax.stop_gradient(pooled))
    (total,) = put_back(x)
    if all(s >= k for s, k in zip(sliding.stride, sliding.size, strict=True)):
        return total
    (count,) = put_back(jnp.ones_like(x))
    return total / jnp.maximum(count, 1)


def weighted_pool(x: Map, sliding: Sliding) -> Pooled:
    """Mean of each window weighted by its own values, sum x^2 / sum x; what is below 0 counts as 0."""
    x = jax.nn.relu(x)
    wide = x.astype(jnp.float32)
    total, squares = (_sum(each, sliding) for each in (wide, jnp.square(wide)))
    some = total > 0
    return jnp.where(some, squares / jnp.where(some, total, 1), 0).astype(x.dtype)


def sample_pool(key: Key[Array, ""], x: Map, sliding: Sliding) -> Pooled:
    """One value of each window, drawn in proportion to the values; what is below 0 counts as 0.

    The gradient goes to the drawn value.
    """
    x = jax.nn.relu(x)
    window = list(taps(pad_with(x.astype(jnp.float32), sliding.padding, 0), sliding.size, sliding.stride))
    sums = [lax.stop_gradient(window[0])]
    for tap in window[1:]:
        sums.append(sums[-1] + lax.stop_gradient(tap))
    drawn = jax.random.uniform(key, sums[-1].shape) * sums[-1]  # (B, *out, C)
    y = window[-1]
    for tap, upto in zip(reversed(window[:-1]), reversed(sums[:-1]), strict=True):
        y = jnp.where(drawn < upto, tap, y)
    return y.astype(x.dtype)


def _max_of_slices(x: Map, sliding: Sliding) -> Pooled:
    """Can be differentiated any number of times."""
    wide = x.astype(jnp.float32)  # gradients of overlapping windows are summed in float32
    return _reduce(_first_max, pad_with(wide, sliding.padding, -jnp.inf), sliding.size, sliding.stride).astype(x.dtype)


def _sum(x: Map, sliding: Sliding) -> Pooled:
    """Sums in float32, whatever the type of ``x``."""
    return _reduce(operator.add, pad_with(x.astype(jnp.float32), sliding.padding, 0), sliding.size, sliding.stride)


def _reduce(combine: Callable[[Array, Array], Array], x: Map, size: Sizes, stride: Sizes) -> Pooled:
    """Fold every window with ``combine``, in reading order."""
    if math.prod(size) <= MANY_TAPS or len(size) == 1:
        return functools.reduce(combine, taps(x, size, stride))
    rows = functools.reduce(combine, taps(x, (1, size[1]), (1, stride[1])))
    return functools.reduce(combine, taps(rows, (size[0], 1), (stride[0], 1)))


def _first_max(a: Array, b: Array) -> Array:
    return jnp.where((b > a) | (b != b), b, a)  # b != b: NaN wins, as in PyTorch
