"""What concerns the last axis, the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def per_channel(vector: Float[Array, "*some C"], x: Float[Array, "B ... C"]) -> Float[Array, "1 ... C"]:
    """An array of ``x``'s last axes, mostly (C,), with axes of 1 before it and in the type of ``x``."""
    return vector.reshape((1,) * (x.ndim - vector.ndim) + vector.shape).astype(x.dtype)


def add_bias(x: Float[Array, "B ... C"], bias: Float[Array, "*some C"] | None) -> Float[Array, "B ... C"]:
    """``x`` plus ``bias``, where there is one."""
    return x if bias is None else x + per_channel(bias, x)


def scale_and_shift(
    x: Float[Array, "B ... C"], scale: Float[Array, "*some C"], bias: Float[Array, "*some C"]
) -> Float[Array, "B ... C"]:
    """``x * scale + bias``."""
    return x * per_channel(scale, x) + per_channel(bias, x)


def pad_channels(x: Float[Array, "B ... C"], to: int) -> Float[Array, "B ... to"]:
    """``to`` channels: zeros on both sides of those of ``x``, the odd one behind."""
    more = to - x.shape[-1]
    return jnp.pad(x, (*((0, 0),) * (x.ndim - 1), (more // 2, more - more // 2)))


def concat(*parts: Float[Array, "B ... Ci"]) -> Float[Array, "B ... C"]:
    """The channels of all parts, one part behind the other."""
    return jnp.concatenate(parts, axis=-1)
