"""Normalisation: statistics in float32 whatever the inputs' precision.

Inputs become float32 once: the grads through the mean, the variance and the value itself cancel, and are added before
they are rounded.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

from cnncli.native import normalization as native
from cnncli.native import response as native_response


def batch_norm(
    x: Array, scale: Array | None, bias: Array | None, epsilon: float, add: Array | None = None, relu: bool = False
) -> tuple[Array, Array, Array]:
    """``x`` (B, ..., C) normalised over all but its channels, plus ``add``, rectified; mean and biased var (C,)."""
    if native.takes(x):
        return native.batch_norm(x, scale, bias, epsilon, add, relu)
    wide = x.astype(jnp.float32)
    mean, var = moments(wide, tuple(range(x.ndim - 1)))
    y = normalize(wide, mean, var, scale, bias, epsilon).astype(x.dtype)
    y = y if add is None else y + add
    return jax.nn.relu(y) if relu else y, mean.reshape(-1), var.reshape(-1)


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and (biased) variance of ``x``, float32, over ``axes``, axes kept with size 1."""
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def normalize(x: Array, mean: Array, var: Array, scale: Array | None, bias: Array | None, epsilon: float) -> Array:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` in float32, given back in the type of ``x``."""
    y = (x.astype(jnp.float32) - _wide(mean, x)) * lax.rsqrt(_wide(var, x) + epsilon)
    y = y if scale is None else y * _wide(scale, x)
    y = y if bias is None else y + _wide(bias, x)
    return y.astype(x.dtype)


def _wide(array: Array, x: Array) -> Array:
    """With axes of 1 before those it has, to meet ``x``."""
    return array.reshape((1,) * (x.ndim - array.ndim) + array.shape)


def response_normalize(x: Array, n: int, k: float, alpha: float, beta: float) -> Array:
    """``x / (k + alpha / n * s)^beta``, s the sum of squares over ``n`` neighbouring channels of ``x`` (B, ..., C)."""
    if native_response.takes(x, beta):
        return native_response.response_normalize(x, n, k, alpha)
    wide = x.astype(jnp.float32)
    padded = jnp.pad(jnp.square(wide), (*((0, 0),) * (x.ndim - 1), (n // 2, (n - 1) // 2)))
    channels = x.shape[-1]
    total = sum((padded[..., tap : tap + channels] for tap in range(1, n)), start=padded[..., :channels])
    base = k + alpha / n * total
    # The usual exponent by square roots, which XLA computes for many values at once.
    root = lax.rsqrt(base)
    return (wide * (root * jnp.sqrt(root) if beta == 0.75 else base**-beta)).astype(x.dtype)
