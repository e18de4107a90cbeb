"""Pooling: each depth slice by itself, no parameters."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from cnncli.errors import ShapeError
from cnncli.layers.base import Context, Layer, Shape, Variables, Window, times
from cnncli.layers.dense import whole
from cnncli.layers.geometry import Extent, Padding, Sliding, slide


class Pool(Layer):
    """Base of the pools: windows of ``kernel``, every ``stride`` (the kernel's size unless given)."""

    main: ClassVar[str | None] = "kernel"

    kernel: Extent = Field(2, description="size of the window")
    stride: Extent | None = Field(None, description="pixels between windows; the kernel's size unless given")
    padding: Padding = Field("valid", description="as in conv; padding never wins a maximum")
    rounding: Literal["floor", "ceil"] = Field("floor", description="ceil: a last, partial window counts too")

    def sliding(self, shape: Shape) -> Sliding:
        """The windows over an input."""
        stride = self.kernel if self.stride is None else self.stride
        sliding = slide(shape, self.kernel, stride, self.padding, ceil=self.rounding == "ceil")
        if any(max(sides) >= k for sides, k in zip(sliding.padding, sliding.size, strict=True)):
            raise ShapeError(f"padding {self.padding} is as wide as the {times(sliding.size)} window",
                             "A window would see nothing but padding: use less.")  # fmt: skip
        return sliding

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H', W', C)."""
        return (*self.sliding(shape).out, shape[-1])

    def window(self, shape: Shape) -> Window:
        """The pool's window."""
        return self.sliding(shape).window()


class MaxPool(Pool):
    """Max pooling: the largest value of each window. The gradient goes to the first maximum.

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1. Overlapping if stride < kernel.
    Source: Riesenhuber and Poggio 1999; overlapping: Krizhevsky et al. 2012.

    Example: `max_pool: 2`  (28, 28, 6) -> (14, 14, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("maxpool", "maxpool2d", "max_pool2d", "max_pooling2d", "maxpooling", "pool")

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', C)."""
        from cnncli.ops.pooling import max_pool

        sliding = self.sliding(x.shape[1:])
        return max_pool(x, sliding.size, sliding.stride, sliding.padding), {}


class AvgPool(Pool):
    """Average pooling: the mean of each window. The gradient is spread evenly.

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1.
    Source: LeCun et al. 1989.

    Example: `avg_pool: 2`  (28, 28, 6) -> (14, 14, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("avgpool", "avgpool2d", "average_pool", "mean_pool", "average_pooling2d")

    count_padding: bool = Field(False, description="true: padding counts as zeros of the window (PyTorch's default)")

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', C)."""
        import jax.numpy as jnp

        from cnncli.ops.pooling import sum_pool

        sliding = self.sliding(x.shape[1:])
        window = sliding.size, sliding.stride, sliding.padding
        total = sum_pool(x, *window)
        if self.count_padding or not any(map(any, sliding.padding)):
            return total / math.prod(sliding.size), {}
        ones = jnp.ones((1, *x.shape[1:-1], 1), x.dtype)
        return total / sum_pool(ones, *window), {}

    def macs(self, shape: Shape) -> int:
        """One addition per value of each window."""
        return math.prod(self.out_shape(shape)) * math.prod(self.sliding(shape).size)


class GlobalAvgPool(Layer):
    """Global average pooling: the mean of each whole map.

    Input (H, W, C) -> output (C,).
    Source: Lin, Chen and Yan 2013 (Network in Network).

    Example: `global_avg_pool`  (8, 8, 64) -> (64,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("gap", "global_average_pooling2d", "adaptive_avg_pool", "global_average_pool")

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (C,)."""
        if len(shape) < 2:
            raise ShapeError(f"needs a map, got the vector {times(shape)}", "Put it before flatten or fc.")
        return shape[-1:]

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, C), summed in float32."""
        import jax.numpy as jnp

        return x.mean(tuple(range(1, x.ndim - 1)), dtype=jnp.float32).astype(x.dtype), {}

    def macs(self, shape: Shape) -> int:
        """One addition per value."""
        return math.prod(shape)

    def window(self, shape: Shape) -> Window:
        """Everything."""
        return whole(shape)
