"""Activations: each the function of its layer's name, from x and the layer's fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax.nn import gelu, hard_sigmoid, hard_swish, hard_tanh, leaky_relu, relu, selu, sigmoid, softplus
from jax.numpy import tanh

from cnncli.ops.channels import per_channel

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Values = Float[Array, "*shape"]
    Map = Float[Array, "B *spatial C"]

__all__ = [
    "elu", "gelu", "hard_sigmoid", "hard_swish", "hard_tanh", "hardlim", "leaky_relu", "linear", "maxout", "prelu",
    "relu", "scaled_tanh", "selu", "sigmoid", "sign", "softmax", "softplus", "swish", "tanh",
]  # fmt: skip


def linear(x: Values) -> Values:
    """The identity."""
    return x


def sign(x: Values, straight_through: bool) -> Values:
    """1 where ``x`` >= 0, else -1."""
    return _threshold(x, jnp.where(x >= 0, jnp.ones_like(x), -jnp.ones_like(x)), straight_through)


def hardlim(x: Values, straight_through: bool) -> Values:
    """1 where ``x`` >= 0, else 0."""
    return _threshold(x, jnp.where(x >= 0, jnp.ones_like(x), jnp.zeros_like(x)), straight_through)


def _threshold(x: Values, y: Values, straight_through: bool) -> Values:
    """``y``, whose gradient is zero or, straight through, that of clip(x, -1, 1)."""
    y = jax.lax.stop_gradient(y)
    if not straight_through:
        return y
    clipped = jnp.clip(x, -1, 1)
    return y + clipped - jax.lax.stop_gradient(clipped)


def scaled_tanh(x: Values, amplitude: float, slope: float) -> Values:
    """``amplitude * tanh(slope * x)``."""
    return amplitude * jnp.tanh(slope * x)


def softmax(x: Map) -> Map:
    """Probabilities over the channels, computed in float32."""
    return jax.nn.softmax(x.astype(jnp.float32), axis=-1).astype(x.dtype)


def prelu(x: Map, slope: Float[Array, " C"]) -> Map:
    """``x`` where it is positive, else ``slope * x``, with a slope for each channel."""
    return jnp.where(x > 0, x, per_channel(slope, x) * x)


def elu(x: Values, scale: float) -> Values:
    """``x`` where it is positive, else ``scale * (exp(x) - 1)``."""
    return jax.nn.elu(x, scale)


def swish(x: Values, beta: float) -> Values:
    """``x * sigmoid(beta x)``."""
    return x * sigmoid(beta * x)


def maxout(x: Map, pieces: int) -> Map:
    """The largest of every ``pieces`` neighbouring channels."""
    return x.reshape(*x.shape[:-1], -1, pieces).max(-1)
