"""Convolution over one or two spatial axes, channels last, and its relatives."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

from cnncli.native import convolution as native
from cnncli.ops.windows import Pads, pad_with, taps

_LAYOUT = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}


def conv(
    x: Array,
    kernel: Array,
    stride: tuple[int, ...],
    padding: Pads,
    dilation: tuple[int, ...],
    groups: int = 1,
    bias: Array | None = None,
) -> Array:
    """Cross-correlate ``x`` (B, *spatial, C) with ``kernel`` (*taps, C / groups, F), plus ``bias`` -> (B, *out, F)."""
    if native.takes(x, padding):
        return native.conv(x, kernel, stride, padding, dilation, groups, bias)
    x, padding = _canonical(x, kernel.shape[: len(stride)], stride, padding, dilation)
    y = lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT[len(stride)],
        feature_group_count=groups,
    )
    return y if bias is None else y + jnp.broadcast_to(bias, y.shape).astype(x.dtype)


def conv_transpose(
    x: Array,
    kernel: Array,
    stride: tuple[int, ...],
    padding: Pads,
    dilation: tuple[int, ...],
    groups: int = 1,
) -> Array:
    """Stamp ``kernel`` (*taps, C / groups, F), weighted by ``x`` (B, *spatial, C), every ``stride`` -> (B, *out, F).

    ``padding``: what is cut off the stamped map; negative where it is extended.
    """
    size = kernel.shape[: len(stride)]
    spans = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
    rotated = kernel[tuple(slice(None, None, -1) for _ in size)]
    kept = [tuple(min(max(cut, 0), span) for cut in cuts) for span, cuts in zip(spans, padding, strict=True)]
    y = lax.conv_general_dilated(
        x,
        rotated.astype(x.dtype),
        (1,) * len(stride),
        [(span - before, span - after) for span, (before, after) in zip(spans, kept, strict=True)],
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT[len(stride)],
        feature_group_count=groups,
    )
    return _extend(y, [(k[0] - p[0], k[1] - p[1]) for k, p in zip(kept, padding, strict=True)])


def _canonical(
    x: Array, size: tuple[int, ...], stride: tuple[int, ...], padding: Pads, dilation: tuple[int, ...]
) -> tuple[Array, Pads]:
    """Inputs and padding of the same convolution, of which no pixel is left over and none is padding alone.

    XLA's gradient of any other can read memory that is not the map's, or end the process (jaxlib 0.10.2, CPU).
    """
    kept, rest = [], []
    for n, k, s, (before, after), d in zip(x.shape[1:-1], size, stride, padding, dilation, strict=True):
        span = (k - 1) * d
        after -= (n + before + after - span - 1) % s
        kept.append((min(before, span), min(max(after, 0), span)))
        rest.append((before - kept[-1][0], after - kept[-1][1]))
    return _extend(x, rest), tuple(kept)


def _extend(x: Array, by: Sequence[tuple[int, int]]) -> Array:
    """``x`` (B, *spatial, C) with zeros around it, or less of it where negative."""
    if not any(map(any, by)):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pair, 0) for pair in by), (0, 0, 0)])


def local_conv(x: Array, kernel: Array, stride: tuple[int, ...], padding: Pads, dilation: tuple[int, ...]) -> Array:
    """As ``conv``, with kernels for each position: ``kernel`` (*out, *taps, C, F) -> (B, *out, F)."""
    axes = len(stride)
    out, size, (channels, filters) = kernel.shape[:axes], kernel.shape[axes:-2], kernel.shape[-2:]
    padded = pad_with(x.astype(jnp.float32), padding, 0)  # what overlapping windows add up in the grad is float32
    patches = jnp.stack(list(taps(padded, size, stride, dilation)), axis=-2).astype(x.dtype)  # (B, *out, taps, C)
    kernel = kernel.astype(x.dtype).reshape(*out, -1, channels, filters)
    return jnp.einsum("b...tc,...tcf->b...f", patches, kernel)


def connect(kernel: Array, connections: Sequence[Sequence[int]], channels: int) -> Array:
    """Kernels of single connections (*taps, 1, n) as one (*taps, channels, F), zero where nothing connects."""
    seen = [channel for each in connections for channel in each]
    by = [filter for filter, each in enumerate(connections) for _ in each]
    full = jnp.zeros((*kernel.shape[:-2], channels, len(connections)), kernel.dtype)
    return full.at[..., jnp.array(seen), jnp.array(by)].set(kernel[..., 0, :])


def pad_spatial(x: Array, padding: Pads, mode: str) -> Array:
    """Extend the spatial axes of ``x`` (B, *spatial, C) by reflection or by repeating the edge."""
    wide = x.astype(jnp.float32)  # the grads of a pixel's copies are added up in float32
    return jnp.pad(wide, ((0, 0), *padding, (0, 0)), mode=mode).astype(x.dtype)
