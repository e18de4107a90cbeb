"""Sliding windows as strided slices, channels last."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import jax.numpy as jnp
from jax import Array, lax

Pads = tuple[tuple[int, int], ...]


def pad_with(x: Array, padding: Pads, value: float) -> Array:
    """``x`` (B, *spatial, C) with ``value`` around it."""
    if all(side == 0 for sides in padding for side in sides):
        return x
    return jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def taps(
    x: Array, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...] | None = None
) -> Iterator[Array]:
    """For every tap of the window in reading order, its value at every output position: (B, *out, C)."""
    gaps = dilation or (1,) * len(size)
    axes = list(zip(x.shape[1:-1], size, stride, gaps, strict=True))
    outs = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in axes]
    for tap in itertools.product(*(range(0, k * d, d) for _, k, _, d in axes)):
        end = [t + (o - 1) * s + 1 for t, o, s in zip(tap, outs, stride, strict=True)]
        yield lax.slice(x, (0, *tap, 0), (x.shape[0], *end, x.shape[-1]), (1, *stride, 1))
