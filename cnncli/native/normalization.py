"""Batch normalisation in training with what often follows, an addition and a ReLU, as one differentiable function."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnncli.native import library
from cnncli.native.devices import on_one


def takes(x: Array) -> bool:
    """Whether the kernel is here and takes ``x``; its statistics are of one device."""
    return on_one() and library.takes(x)


def batch_norm(
    x: Array, scale: Array | None, bias: Array | None, epsilon: float, add: Array | None, relu: bool
) -> tuple[Array, Array, Array]:
    """As ``ops.normalization.batch_norm``."""
    none = jnp.zeros(0, jnp.float32)
    scale, bias = none if scale is None else scale, none if bias is None else bias
    return _batch_norm(x, scale, bias, jnp.zeros(0, x.dtype) if add is None else add, epsilon, relu)[:3]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _batch_norm(
    x: Array, scale: Array, bias: Array, add: Array, epsilon: float, relu: bool
) -> tuple[Array, Array, Array, Array]:
    """Outputs, mean, var, and what the mean lost when it was rounded."""
    channels = jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)
    call = _call("cnn_batch_norm", (jax.ShapeDtypeStruct(x.shape, x.dtype), *[channels] * 3), epsilon, relu)
    return tuple(call(x, scale, bias, add))


def _forward(x: Array, scale: Array, bias: Array, add: Array, epsilon: float, relu: bool) -> Any:
    y, *statistics = _batch_norm(x, scale, bias, add, epsilon, relu)
    kept = (x, y if relu else jnp.zeros(0, x.dtype), scale, statistics, bias.shape, add.shape)
    return (y, *statistics), kept


def _backward(epsilon: float, relu: bool, kept: Any, slopes: tuple[Array, ...]) -> Any:
    """The statistics' own slopes are left out: they are carried, not trained."""
    x, y, scale, statistics, bias, add = kept
    shapes = [jax.ShapeDtypeStruct(shape, kind) for shape, kind in
              ((x.shape, x.dtype), (add, x.dtype), (scale.shape, jnp.float32), (bias, jnp.float32))]  # fmt: skip
    call = _call("cnn_batch_norm_gradient", shapes, epsilon, relu)
    into_x, into_add, into_scale, into_bias = call(x, y, slopes[0], scale, *statistics)
    return into_x, into_scale, into_bias, into_add


_batch_norm.defvjp(_forward, _backward)


def _call(name: str, shapes: Any, epsilon: float, relu: bool) -> Any:
    call = jax.ffi.ffi_call(name, shapes, vmap_method="sequential")
    return functools.partial(call, epsilon=np.float32(epsilon), relu=relu)
