"""Normalization: statistics in float32 whatever the type of the inputs.

Inputs become float32 once: the gradients through the mean, the variance and the value cancel, so they are added before
they are rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

from cnncli.native import calls
from cnncli.ops.channels import per_channel

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Map = Float[Array, "B *spatial C"]
    PerChannel = Float[Array, " C"]
    Statistics = Float[Array, "*shape"]


def batch_norm(
    x: Map, scale: PerChannel | None, bias: PerChannel | None, epsilon: float, add: Map | None, relu: bool
) -> tuple[Map, PerChannel, PerChannel]:
    """``x`` normalized over all axes but its channels, plus ``add``, then a ReLU; its mean and biased variance."""
    if calls.takes_batch_norm(x):
        return calls.batch_norm(x, scale, bias, epsilon, add, relu)
    wide = x.astype(jnp.float32)
    mean, var = moments(wide, tuple(range(x.ndim - 1)))
    y = normalize(wide, mean, var, scale, bias, epsilon).astype(x.dtype)
    y = y if add is None else y + add
    return jax.nn.relu(y) if relu else y, mean.reshape(-1), var.reshape(-1)


def moments(x: Map, axes: tuple[int, ...]) -> tuple[Statistics, Statistics]:
    """Mean and (biased) variance of ``x``, float32, over ``axes``, axes kept with size 1."""
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def layer_norm(
    x: Map, axes: tuple[int, ...], scale: Statistics | None, bias: Statistics | None, epsilon: float
) -> Map:
    """Each example normalized by itself, over ``axes``."""
    wide = x.astype(jnp.float32)
    return normalize(wide, *moments(wide, axes), scale, bias, epsilon).astype(x.dtype)


def group_norm(x: Map, groups: int, scale: PerChannel | None, bias: PerChannel | None, epsilon: float) -> Map:
    """Each example normalized by itself, over positions and the channels of a group."""
    wide = x.astype(jnp.float32)
    split = wide.reshape(*x.shape[:-1], groups, -1)  # (B, ..., groups, C / groups)
    shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])  # a number for each example and channel
    mean, var = moments(split, (*range(1, x.ndim - 1), x.ndim))
    mean, var = (jnp.repeat(each, x.shape[-1] // groups, axis=-1).reshape(shape) for each in (mean, var))
    return normalize(wide, mean, var, scale, bias, epsilon).astype(x.dtype)


def normalize(
    x: Map, mean: Statistics, var: Statistics, scale: PerChannel | None, bias: PerChannel | None, epsilon: float
) -> Map:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias`` in float32, returned in the type of ``x``."""
    y = x.astype(jnp.float32)
    y = (y - per_channel(mean, y)) * lax.rsqrt(per_channel(var, y) + epsilon)
    y = y if scale is None else y * per_channel(scale, y)
    y = y if bias is None else y + per_channel(bias, y)
    return y.astype(x.dtype)


def rms_norm(x: Map, scale: PerChannel | None, epsilon: float) -> Map:
    """``x / sqrt(mean(x^2) + epsilon) * scale``, the mean over the channels at each position."""
    wide = x.astype(jnp.float32)
    square = jnp.square(wide).mean(-1, keepdims=True)
    return normalize(wide, jnp.zeros_like(square), square, scale, None, epsilon).astype(x.dtype)


def response_normalize(x: Map, n: int, k: float, alpha: float, beta: float) -> Map:
    """``x / (k + alpha / n * s)^beta``, s the sum of squares over ``n`` neighbouring channels."""
    if calls.takes_response_norm(x, beta):
        return calls.response_norm(x, n, k, alpha)
    wide = x.astype(jnp.float32)
    padded = jnp.pad(jnp.square(wide), (*((0, 0),) * (x.ndim - 1), (n // 2, (n - 1) // 2)))
    channels = x.shape[-1]
    total = sum((padded[..., tap : tap + channels] for tap in range(1, n)), start=padded[..., :channels])
    base = k + alpha / n * total
    # XLA computes square roots of many values at once, but not powers: beta is mostly 0.75.
    root = lax.rsqrt(base)
    return (wide * (root * jnp.sqrt(root) if beta == 0.75 else base**-beta)).astype(x.dtype)
