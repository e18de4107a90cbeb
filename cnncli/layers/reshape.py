"""Layers that only move values: flatten, and channels of zeros."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field, PositiveInt
from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Array, Call, Layer, Resolved, Shape, Window, times
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.ops import channels


class Flatten(Layer):
    """A map as one vector, row by row, channels innermost.

    Input (H, W, C) -> output (H*W*C,).

    Example: `flatten`  (5, 5, 16) -> (400,), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("reshape", "view")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        return Resolved((math.prod(shape),), Window.whole(shape))

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return x.reshape(x.shape[0], -1)


class PadChannels(Layer):
    """Channels of zeros, half before and half behind (the odd one behind): ResNet's shortcut without weights.

    Any input (..., C) -> output (..., to). Source: He et al. 2015 (option A), behind `max_pool: {kernel: 1, stride:
    2}` where the map shrinks.

    Example: `pad_channels: 32`  (8, 8, 16) -> (8, 8, 32), 0 parameters
    """

    shorthand: ClassVar[str | None] = "to"
    aliases: ClassVar[tuple[str, ...]] = ("zero_pad_channels", "channel_pad", "channel_padding", "option_a")

    to: PositiveInt = Field(le=1 << 20, description="number of channels afterwards")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        if shape[-1] > self.to:
            raise ShapeError(
                f"the input {times(shape)} has {shape[-1]} channels, more than {self.to}", f"Try to: {2 * shape[-1]}."
            )
        return Resolved((*shape[:-1], self.to), Window.element(shape))

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return channels.pad_channels(x, self.to)
