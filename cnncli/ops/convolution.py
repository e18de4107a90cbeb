"""Convolution over one or two spatial axes, channels last, and its relatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import jax.numpy as jnp
from jax import lax

from cnncli.native import calls
from cnncli.ops.channels import add_bias
from cnncli.ops.windows import Pads, Sizes, pad_with, taps

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_LAYOUT = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}


def conv(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*taps C/groups F"],
    stride: Sizes,
    padding: Pads,
    dilation: Sizes,
    groups: int = 1,
    bias: Float[Array, " F"] | None = None,
) -> Float[Array, "B *out F"]:
    """Cross-correlate ``x`` with ``kernel`` and add ``bias``."""
    if calls.takes_convolution(x, padding):
        return calls.conv(x, kernel, stride, padding, dilation, groups, bias)
    x, padding = _without_unused_pixels(x, kernel.shape[: len(stride)], stride, padding, dilation)
    y = lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT[len(stride)],
        feature_group_count=groups,
    )
    return add_bias(y, bias)


def conv_transpose(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*taps C/groups F"],
    stride: Sizes,
    padding: Pads,
    dilation: Sizes,
    groups: int = 1,
    bias: Float[Array, " F"] | None = None,
) -> Float[Array, "B *out F"]:
    """Each input adds ``kernel`` times its value to the output, the next one ``stride`` further on; plus ``bias``.

    ``padding`` is cut off the output; where it is negative, zeros are added.
    """
    spans = [(k - 1) * d for k, d in zip(kernel.shape, dilation, strict=False)]
    kept = [tuple(min(max(cut, 0), span) for cut in cuts) for span, cuts in zip(spans, padding, strict=True)]
    y = lax.conv_general_dilated(
        x,
        flip(kernel).astype(x.dtype),
        (1,) * len(stride),
        [(span - before, span - after) for span, (before, after) in zip(spans, kept, strict=True)],
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT[len(stride)],
        feature_group_count=groups,
    )
    return add_bias(_extend(y, [(k[0] - p[0], k[1] - p[1]) for k, p in zip(kept, padding, strict=True)]), bias)


def _without_unused_pixels(
    x: Float[Array, "B *spatial C"], size: Sizes, stride: Sizes, padding: Pads, dilation: Sizes
) -> tuple[Float[Array, "B *cropped C"], Pads]:
    """Input and padding of the same convolution, without pixels behind the last window or windows of padding alone.

    XLA's gradient of any other can read memory outside the map, or end the process (jaxlib 0.10.2, CPU).
    """
    kept, rest = [], []
    for n, k, s, (before, after), d in zip(x.shape[1:-1], size, stride, padding, dilation, strict=True):
        span = (k - 1) * d
        after -= (n + before + after - span - 1) % s
        kept.append((min(before, span), min(max(after, 0), span)))
        rest.append((before - kept[-1][0], after - kept[-1][1]))
    return _extend(x, rest), tuple(kept)


def _extend(x: Float[Array, "B *spatial C"], by: Sequence[tuple[int, int]]) -> Float[Array, "B *extended C"]:
    """``x`` with zeros around it; cropped where ``by`` is negative."""
    if not any(map(any, by)):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pair, 0) for pair in by), (0, 0, 0)])


def local_conv(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*out_and_taps C F"],
    stride: Sizes,
    padding: Pads,
    dilation: Sizes,
    bias: Float[Array, "*out F"] | None = None,
) -> Float[Array, "B *out F"]:
    """As ``conv``, with a kernel and a bias for each position: ``kernel`` is (*out, *taps, C, F)."""
    axes = len(stride)
    out, size, (channels, filters) = kernel.shape[:axes], kernel.shape[axes:-2], kernel.shape[-2:]
    patches = jnp.stack(list(taps(pad_with(x, padding, 0), size, stride, dilation)), axis=-2)  # (B, *out, taps, C)
    kernel = kernel.astype(x.dtype).reshape(*out, -1, channels, filters)
    return add_bias(jnp.einsum("b...tc,...tcf->b...f", patches, kernel), bias)


def connect(
    kernel: Float[Array, "*taps 1 n"], connections: Sequence[Sequence[int]], channels: int
) -> Float[Array, "*taps channels F"]:
    """Kernels of single connections as one kernel of all channels and filters, zero where nothing connects."""
    inputs = [channel for each in connections for channel in each]
    filters = [filter for filter, each in enumerate(connections) for _ in each]
    full = jnp.zeros((*kernel.shape[:-2], channels, len(connections)), kernel.dtype)
    return full.at[..., jnp.array(inputs), jnp.array(filters)].set(kernel[..., 0, :])


def flip(kernel: Float[Array, "*taps I F"]) -> Float[Array, "*taps I F"]:
    """The kernel rotated by 180 degrees: every spatial axis reversed."""
    return kernel[(slice(None, None, -1),) * (kernel.ndim - 2)]


def pad_spatial(
    x: Float[Array, "B *spatial C"], padding: Pads, mode: Literal["reflect", "edge"]
) -> Float[Array, "B *padded C"]:
    """Extend the spatial axes by reflection or by repeating the edge."""
    return jnp.pad(x, ((0, 0), *padding, (0, 0)), mode=mode)
