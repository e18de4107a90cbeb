"""Pooling as reductions over strided slices, channels last.

``lax.reduce_window``'s gradient is slow on CPU; a chain of element-wise maxima over strided slices is ten times
faster there and fuses everywhere. Ties send the gradient to the first maximum, as the definition and PyTorch do.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterator

import jax.numpy as jnp
from jax import Array, lax

from cnncli.ops.convolution import Pads


def max_pool(x: Array, size: tuple[int, ...], stride: tuple[int, ...], padding: Pads) -> Array:
    """Maximum of each window. ``x`` (B, *spatial, C) -> (B, *out, C); padding never wins."""
    return functools.reduce(_first_max, _taps(_pad(x, padding, -jnp.inf), size, stride))


def sum_pool(x: Array, size: tuple[int, ...], stride: tuple[int, ...], padding: Pads) -> Array:
    """Sum of each window. ``x`` (B, *spatial, C) -> (B, *out, C); padding counts as 0."""
    return functools.reduce(operator.add, _taps(_pad(x, padding, 0.0), size, stride))


def _first_max(a: Array, b: Array) -> Array:
    return jnp.where((b > a) | (b != b), b, a)  # b != b: NaN wins, as in PyTorch


def _pad(x: Array, padding: Pads, value: float) -> Array:
    if all(side == 0 for sides in padding for side in sides):
        return x
    return jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def _taps(x: Array, size: tuple[int, ...], stride: tuple[int, ...]) -> Iterator[Array]:
    """For every tap of the window in reading order, its value at every output position."""
    outs = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:-1], size, stride, strict=True)]
    for tap in itertools.product(*(range(k) for k in size)):
        end = [t + (o - 1) * s + 1 for t, o, s in zip(tap, outs, stride, strict=True)]
        yield lax.slice(x, (0, *tap, 0), (x.shape[0], *end, x.shape[-1]), (1, *stride, 1))
