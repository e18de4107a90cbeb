"""Local response normalisation and its gradient, as a differentiable JAX function."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from jax import Array

from cnncli.native import library
from cnncli.native.devices import over_batch

POWER = 0.75  # the only exponent it takes


def takes(x: Array, beta: float) -> bool:
    """Whether the kernel is here and takes such a map and exponent."""
    return beta == POWER and library.takes(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def response_normalize(x: Array, n: int, k: float, alpha: float) -> Array:
    """As ``ops.normalization.response_normalize`` with ``beta`` 0.75, of ``x`` (B, ..., C)."""

    def call(x: Array) -> Any:
        return _call("cnn_response_norm", x, n, k, alpha)(x)

    return over_batch(call, (True,))(x)


def _forward(x: Array, n: int, k: float, alpha: float) -> tuple[Array, Array]:
    return response_normalize(x, n, k, alpha), x


def _backward(n: int, k: float, alpha: float, x: Array, slope: Array) -> tuple[Array]:
    def call(x: Array, slope: Array) -> Any:
        return _call("cnn_response_norm_gradient", x, n, k, alpha)(x, slope)

    return (over_batch(call, (True, True))(x, slope),)


response_normalize.defvjp(_forward, _backward)


def _call(name: str, x: Array, n: int, k: float, alpha: float) -> Any:
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(x.shape, x.dtype), vmap_method="sequential")
    return functools.partial(call, n=np.int64(n), k=np.float32(k), alpha=np.float32(alpha))
