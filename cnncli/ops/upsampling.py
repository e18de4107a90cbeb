"""Enlarging maps by whole numbers, channels last, without gathers: each axis by itself, sums in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Map = Float[Array, "B *spatial C"]
    Enlarged = Float[Array, "B *enlarged C"]


def repeat(x: Map, scales: tuple[int, ...]) -> Enlarged:
    """Every pixel as a block of ``scales`` pixels."""
    y = x.astype(jnp.float32)
    for axis, scale in enumerate(scales, start=1):
        y = _interleave([y] * scale, axis)
    return y.astype(x.dtype)


def bilinear(x: Map, scales: tuple[int, ...]) -> Enlarged:
    """Linear between the pixels' centres along each axis, constant beyond the outer centres."""
    y = x.astype(jnp.float32)
    for axis, scale in enumerate(scales, start=1):
        left, right = _neighbours(y, axis)
        offsets = [(2 * phase + 1 - scale) / (2 * scale) for phase in range(scale)]  # pixels from the centre
        y = _interleave([(1 - abs(o)) * y + abs(o) * (left if o < 0 else right) for o in offsets], axis)
    return y.astype(x.dtype)


def _neighbours(x: Map, axis: int) -> tuple[Map, Map]:
    """For each pixel the one before and the one behind it; at the edge, the pixel itself."""
    n = x.shape[axis]
    first, last = lax.slice_in_dim(x, 0, 1, axis=axis), lax.slice_in_dim(x, n - 1, n, axis=axis)
    left = jnp.concatenate([first, lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis)
    right = jnp.concatenate([lax.slice_in_dim(x, 1, n, axis=axis), last], axis)
    return left, right


def _interleave(phases: list[Map], axis: int) -> Enlarged:
    """[a0 a1 ...], [b0 b1 ...] -> a0 b0 a1 b1 ... along ``axis``."""
    stacked = jnp.stack(phases, axis + 1)
    shape = stacked.shape
    return stacked.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
