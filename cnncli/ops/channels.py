"""What works along the last axis, the channels: broadcasting, joining, products and distances."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Map = Float[Array, "B *spatial C"]
    PerChannel = Float[Array, "*some C"]


def per_channel(vector: PerChannel, x: Map) -> Map:
    """A float32 array of ``x``'s last axes, mostly (C,), for all of ``x`` and in its type.

    Its type changes after it has the size of ``x``, so that its gradient is summed in float32.
    """
    return jnp.broadcast_to(vector, x.shape).astype(x.dtype)


def add_bias(x: Map, bias: PerChannel | None) -> Map:
    """``x`` plus ``bias``, where there is one."""
    return x if bias is None else x + per_channel(bias, x)


def scale_and_shift(x: Map, scale: PerChannel, bias: PerChannel) -> Map:
    """``x * scale + bias``."""
    return x * per_channel(scale, x) + per_channel(bias, x)


def pad_channels(x: Map, to: int) -> Float[Array, "B *spatial to"]:
    """``to`` channels: zeros on both sides of those of ``x``, the odd one behind."""
    more = to - x.shape[-1]
    return jnp.pad(x, (*((0, 0),) * (x.ndim - 1), (more // 2, more - more // 2)))


def multiply(*parts: Map) -> Map:
    """The product of maps and of (B, C) arrays, in float32: the gradient of a (B, C) array is a sum over the map."""
    axes = max(part.ndim for part in parts)
    wide = [part.reshape(part.shape[0], *(1,) * (axes - part.ndim), *part.shape[1:]) for part in parts]
    wide = [part.astype(jnp.float32) for part in wide]
    return math.prod(wide[1:], start=wide[0]).astype(parts[0].dtype)


def concat(*parts: Float[Array, "B *spatial Ci"]) -> Map:
    """The channels of all parts, one part behind the other."""
    return jnp.concatenate(parts, axis=-1)


def fully_connected(
    x: Map, kernel: Float[Array, "n units"], bias: Float[Array, " units"] | None
) -> Float[Array, "B units"]:
    """``x`` as vectors of n values, times ``kernel``, plus ``bias``."""
    return add_bias(x.reshape(x.shape[0], -1) @ kernel.astype(x.dtype), bias)


def squared_distances(x: Map, codes: Float[Array, "units n"]) -> Float[Array, "B units"]:
    """The squared distance of ``x``, as vectors of n values, to each row of ``codes``, summed in float32."""
    difference = x.reshape(x.shape[0], 1, -1).astype(jnp.float32) - codes[None]  # (B, units, n)
    return jnp.square(difference).sum(-1).astype(x.dtype)
