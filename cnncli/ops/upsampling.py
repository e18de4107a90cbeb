"""Enlarging maps by whole numbers, channels last, without gathers: each axis by itself, sums in float32."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax


def repeat(x: Array, scales: tuple[int, ...]) -> Array:
    """Every pixel of ``x`` (B, *spatial, C) as a block of ``scales``."""
    y = x.astype(jnp.float32)
    for axis, scale in enumerate(scales, start=1):
        y = _interleave([y] * scale, axis)
    return y.astype(x.dtype)


def bilinear(x: Array, scales: tuple[int, ...]) -> Array:
    """Linear between the pixels' centres along each axis of ``x`` (B, *spatial, C), constant beyond the outer ones."""
    y = x.astype(jnp.float32)
    for axis, scale in enumerate(scales, start=1):
        left, right = _neighbours(y, axis)
        offsets = [(2 * phase + 1 - scale) / (2 * scale) for phase in range(scale)]  # pixels from the centre
        y = _interleave([(1 - abs(o)) * y + abs(o) * (left if o < 0 else right) for o in offsets], axis)
    return y.astype(x.dtype)


def _neighbours(x: Array, axis: int) -> tuple[Array, Array]:
    """The pixel before and the one behind each, the edge's own where there is none."""
    n = x.shape[axis]
    first, last = lax.slice_in_dim(x, 0, 1, axis=axis), lax.slice_in_dim(x, n - 1, n, axis=axis)
    left = jnp.concatenate([first, lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis)
    right = jnp.concatenate([lax.slice_in_dim(x, 1, n, axis=axis), last], axis)
    return left, right


def _interleave(phases: list[Array], axis: int) -> Array:
    """[a0 a1 ...], [b0 b1 ...] -> a0 b0 a1 b1 ... along ``axis``."""
    stacked = jnp.stack(phases, axis + 1)
    shape = stacked.shape
    return stacked.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
