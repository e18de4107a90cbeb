"""Two-dimensional convolution and its gradients by oneDNN, as a differentiable JAX function."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnncli.native import library
from cnncli.native.devices import over_batch


class Geometry(NamedTuple):
    """How the kernel slides: along height and width."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    groups: int


def takes(x: Array, padding: Sequence[tuple[int, int]]) -> bool:
    """Whether the kernels are here and take ``x`` with this padding."""
    return min(map(min, padding)) >= 0 and library.takes(x)


def conv(
    x: Array,
    kernel: Array,
    stride: tuple[int, ...],
    padding: Sequence[tuple[int, int]],
    dilation: tuple[int, ...],
    groups: int,
    bias: Array | None,
) -> Array:
    """As ``ops.convolution.conv``, over one or two axes."""
    if bias is None:
        bias = jnp.zeros(0, jnp.float32)
    if len(stride) == 1:  # a map of one row
        geometry = Geometry((1, *stride), (1, *dilation), ((0, 0), padding[0]), groups)
        return convolution(x[:, None], kernel[None], bias, geometry)[:, 0]
    return convolution(x, kernel, bias, Geometry(stride, dilation, tuple(padding), groups))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def convolution(x: Array, kernel: Array, bias: Array, geometry: Geometry) -> Array:
    """``x`` (B, H, W, C), ``kernel`` (h, w, C / groups, F) and ``bias`` (F,) or (0,) float32 -> (B, H', W', F)."""
    sides = zip(x.shape[1:3], kernel.shape[:2], geometry.stride, geometry.dilation, geometry.padding, strict=True)
    out = [(n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, k, s, d, pad in sides]

    def call(x: Array, kernel: Array, bias: Array) -> Array:
        shape = jax.ShapeDtypeStruct((x.shape[0], *out, kernel.shape[-1]), x.dtype)
        return _call("cnn_convolution", shape, geometry)(x, kernel, bias)

    return over_batch(call, (True, False, False))(x, kernel, bias)


def input_gradient(slope: Array, kernel: Array, side: tuple[int, ...], geometry: Geometry) -> Array:
    """``slope`` (B, H', W', F) of the outputs -> that of the inputs (B, *side, C)."""

    def call(slope: Array, kernel: Array) -> Array:
        channels = kernel.shape[2] * geometry.groups
        shape = jax.ShapeDtypeStruct((slope.shape[0], *side, channels), slope.dtype)
        return _call("cnn_convolution_input_gradient", shape, geometry)(slope, kernel)

    return over_batch(call, (True, False))(slope, kernel)


def weight_gradient(
    x: Array, slope: Array, kernel: tuple[int, ...], biases: int, geometry: Geometry
) -> tuple[Array, Array]:
    """``x`` and the outputs' ``slope`` -> those of a kernel of shape ``kernel`` and of ``biases`` biases, float32."""

    def call(x: Array, slope: Array) -> Any:
        shapes = jax.ShapeDtypeStruct(kernel, jnp.float32), jax.ShapeDtypeStruct((biases,), jnp.float32)
        return _call("cnn_convolution_weight_gradient", shapes, geometry)(x, slope)

    return over_batch(call, (True, True), summed=True)(x, slope)


def _forward(x: Array, kernel: Array, bias: Array, geometry: Geometry) -> tuple[Array, tuple[Array, Array, int]]:
    return convolution(x, kernel, bias, geometry), (x, kernel, bias.shape[0])


def _backward(geometry: Geometry, kept: tuple[Array, Array, int], slope: Array) -> tuple[Array, Array, Array]:
    x, kernel, biases = kept
    into_x = input_gradient(slope, kernel, x.shape[1:3], geometry)
    return into_x, *weight_gradient(x, slope, kernel.shape, biases, geometry)


convolution.defvjp(_forward, _backward)


def _call(name: str, shapes: Any, geometry: Geometry) -> Any:
    (top, bottom), (left, right) = geometry.padding
    numbers = (*geometry.stride, *geometry.dilation, top, bottom, left, right, geometry.groups)
    call = jax.ffi.ffi_call(name, shapes, vmap_method="sequential")
    return functools.partial(call, geometry=np.array(numbers, np.int64))
