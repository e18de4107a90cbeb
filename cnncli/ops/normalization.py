"""Normalisation: statistics in float32 whatever the inputs' precision."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and (biased) variance of ``x`` over ``axes``, in float32, axes kept with size 1."""
    x = x.astype(jnp.float32)
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def normalize(
    x: Array, mean: Array, var: Array, scale: Array | None, bias: Array | None, epsilon: float
) -> Array:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` in float32, given back in the type of ``x``."""
    y = (x.astype(jnp.float32) - mean) * lax.rsqrt(var + epsilon)
    y = y if scale is None else y * scale.reshape((1,) * (x.ndim - scale.ndim) + scale.shape)
    y = y if bias is None else y + bias.reshape((1,) * (x.ndim - bias.ndim) + bias.shape)
    return y.astype(x.dtype)
