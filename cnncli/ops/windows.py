"""Sliding windows as strided slices, channels last."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from cnncli.sliding import Pads, Sizes


def pad_with(x: Float[Array, "B *spatial C"], padding: Pads, value: float) -> Float[Array, "B *padded C"]:
    """``x`` with ``value`` around it."""
    if not any(map(any, padding)):
        return x
    return jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def taps(
    x: Float[Array, "B *spatial C"], size: Sizes, stride: Sizes, dilation: Sizes | None = None
) -> Iterator[Float[Array, "B *out C"]]:
    """For every tap of the window, in reading order, its value at every output position."""
    gaps = dilation or (1,) * len(size)
    axes = list(zip(x.shape[1:-1], size, stride, gaps, strict=True))
    outs = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in axes]
    for tap in itertools.product(*(range(0, k * d, d) for _, k, _, d in axes)):
        end = [t + (o - 1) * s + 1 for t, o, s in zip(tap, outs, stride, strict=True)]
        yield lax.slice(x, (0, *tap, 0), (x.shape[0], *end, x.shape[-1]), (1, *stride, 1))
