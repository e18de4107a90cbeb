"""Layers that only move values, and those that join several inputs."""

import math
from typing import Any, ClassVar

from pydantic import Field, PositiveInt

from cnncli.errors import ShapeError
from cnncli.layers.base import Context, Layer, Shape, Variables, Window, times
from cnncli.layers.dense import whole


class Flatten(Layer):
    """A map as one vector, row by row, channels innermost.

    Input (H, W, C) -> output (H*W*C,).

    Example: `flatten`  (5, 5, 16) -> (400,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("reshape", "view")

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H*W*C,)."""
        return (math.prod(shape),)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ...) -> (B, n)."""
        return x.reshape(x.shape[0], -1), {}

    def window(self, shape: Shape) -> Window:
        """Everything: the vector as a whole holds the whole map."""
        return whole(shape)


class PadChannels(Layer):
    """Channels of zeros, half before and half behind (the odd one behind): ResNet's shortcut without weights.

    Any input (..., C) -> output (..., to). Source: He et al. 2015 (option A), behind `max_pool: {kernel: 1, stride:
    2}` where the map shrinks.

    Example: `pad_channels: 32`  (8, 8, 16) -> (8, 8, 32), 0 parameters
    """

    main: ClassVar[str | None] = "to"
    words: ClassVar[tuple[str, ...]] = ("zero_pad_channels", "channel_pad", "channel_padding", "option_a")

    to: PositiveInt = Field(le=1 << 20, description="number of channels afterwards")

    def out_shape(self, shape: Shape) -> Shape:
        """(..., C) -> (..., to)."""
        if shape[-1] > self.to:
            raise ShapeError(f"the input {times(shape)} has {shape[-1]} channels, more than {self.to}",
                             f"Try to: {2 * shape[-1]}.")  # fmt: skip
        return (*shape[:-1], self.to)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> (B, ..., to)."""
        import jax.numpy as jnp

        more = self.to - x.shape[-1]
        return jnp.pad(x, (*((0, 0),) * (x.ndim - 1), (more // 2, more - more // 2))), {}


class Join(Layer):
    """Base of layers with several inputs, given by ``from: [a, b]``. Shapes and arrays come as tuples."""

    joins: ClassVar[bool] = True

    def window(self, shape: Any) -> Window:
        """Element-wise."""
        return Window.one(len(shape[0]) - 1)


class Add(Join):
    """Element-wise sum of its inputs: the end of a residual.

    Inputs of one shape -> that shape. Source: He et al. 2015.

    Example: `{add: , from: [a, b]}`  (8, 8, 16), (8, 8, 16) -> (8, 8, 16), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("sum", "plus", "shortcut")

    def out_shape(self, shape: tuple[Shape, ...]) -> Shape:
        """All the same."""
        return same_shapes(self.kind, shape)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ...) each -> (B, ...)."""
        return sum(x[1:], start=x[0]), {}

    def macs(self, shape: tuple[Shape, ...]) -> int:
        """One addition per value and further input."""
        return math.prod(shape[0]) * (len(shape) - 1)


class Multiply(Join):
    """Element-wise product of its inputs: gates and attention masks. A (C,) vector scales each channel of a map.

    Inputs of one shape, or maps and (C,) vectors -> the map's shape. Source: Hu et al. 2018 (squeeze-and-excitation).

    Example: `{multiply: , from: [a, b]}`  (8, 8, 16), (16,) -> (8, 8, 16), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("mul", "scale", "gate")

    def out_shape(self, shape: tuple[Shape, ...]) -> Shape:
        """The largest; vectors of its channels fit too."""
        largest = max(shape, key=len)
        return same_shapes(self.kind, tuple(largest if s == largest[-1:] else s for s in shape))

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ...) each -> (B, ...)."""
        import jax.numpy as jnp

        axes = max(part.ndim for part in x)
        wide = [part.reshape(part.shape[0], *(1,) * (axes - part.ndim), *part.shape[1:]) for part in x]
        wide = [part.astype(jnp.float32) for part in wide]  # a gate's grad is a sum over its map
        return math.prod(wide[1:], start=wide[0]).astype(x[0].dtype), {}

    def macs(self, shape: tuple[Shape, ...]) -> int:
        """One per value and further input."""
        return math.prod(self.out_shape(shape)) * (len(shape) - 1)


class Concat(Join):
    """Inputs side by side along the channels: the end of an inception module.

    Inputs (H, W, C1), (H, W, C2), ... -> (H, W, C1 + C2 + ...). Source: Szegedy et al. 2014.

    Example: `{concat: , from: [a, b]}`  (8, 8, 16), (8, 8, 32) -> (8, 8, 48), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("concatenate", "cat", "merge", "route")

    def out_shape(self, shape: tuple[Shape, ...]) -> Shape:
        """Channels add up; everything else must agree."""
        if len({s[:-1] for s in shape}) > 1:
            sizes = ", ".join(map(times, shape))
            raise ShapeError(f"cannot join {sizes}: their heights and widths differ", "Check strides and padding.")
        return (*shape[0][:-1], sum(s[-1] for s in shape))

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., Ci) each -> (B, ..., sum of Ci)."""
        import jax.numpy as jnp

        return jnp.concatenate(x, axis=-1), {}


def same_shapes(kind: str, shapes: tuple[Shape, ...]) -> Shape:
    """The one shape all have; ShapeError otherwise."""
    if len(set(shapes)) > 1:
        sizes = " and ".join(map(times, dict.fromkeys(shapes)))
        raise ShapeError(f"cannot {kind} {sizes}", "All inputs need one shape: check strides, padding and filters.")
    return shapes[0]
