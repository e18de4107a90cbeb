"""Convolution over one or two spatial axes, channels last."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

Pads = tuple[tuple[int, int], ...]
_LAYOUT = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}
_MODES = {"reflect": "reflect", "edge": "edge"}


def conv(
    x: Array,
    kernel: Array,
    stride: tuple[int, ...],
    padding: Pads,
    dilation: tuple[int, ...],
    groups: int = 1,
) -> Array:
    """Cross-correlate ``x`` (B, *spatial, C) with ``kernel`` (*taps, C / groups, F) -> (B, *out, F)."""
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT[len(stride)],
        feature_group_count=groups,
    )


def pad_spatial(x: Array, padding: Pads, mode: str) -> Array:
    """Extend the spatial axes of ``x`` (B, *spatial, C) by reflection or by repeating the edge."""
    return jnp.pad(x, ((0, 0), *padding, (0, 0)), mode=_MODES[mode])
