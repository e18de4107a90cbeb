"""Pooling: each depth slice by itself, no parameters."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from cnncli.errors import ShapeError
from cnncli.layers.base import Context, Layer, Shape, Variables, Weight, Window, per_channel, times
from cnncli.layers.dense import whole
from cnncli.layers.geometry import Extent, Padding, Sliding, slide
from cnncli.layers.initializers import Init, Ones, Zeros


class Pool(Layer):
    """Base of the pools: windows of ``kernel``, every ``stride`` (the kernel's size unless given)."""

    main: ClassVar[str | None] = "kernel"

    kernel: Extent = Field(2, description="size of the window")
    stride: Extent | None = Field(None, description="pixels between windows; the kernel's size unless given")
    padding: Padding = Field("valid", description="as in conv; padding never wins a maximum")
    rounding: Literal["floor", "ceil"] = Field("floor", description="ceil: a last, partial window counts too")

    def sliding(self, shape: Shape) -> Sliding:
        """The windows over an input."""
        sliding = self.declared(shape, ceil=self.rounding == "ceil")
        if any(max(sides) >= k for sides, k in zip(sliding.padding, sliding.size, strict=True)):
            raise ShapeError(f"padding {self.padding} is as wide as the {times(sliding.size)} window",
                             "A window would see nothing but padding: use less.")  # fmt: skip
        return sliding

    def declared(self, shape: Shape, ceil: bool = False) -> Sliding:
        """The windows with the padding as it is written; with ``ceil``, what a last, partial window needs besides."""
        stride = self.kernel if self.stride is None else self.stride
        return slide(shape, self.kernel, stride, self.padding, ceil=ceil)

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H', W', C)."""
        return (*self.sliding(shape).out, shape[-1])

    def window(self, shape: Shape) -> Window:
        """The pool's window."""
        return self.sliding(shape).window()


class MaxPool(Pool):
    """Max pooling: the largest value of each window. The gradient goes to the first maximum.

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1; overlapping if stride <
    kernel. Sequences alike. Source: Riesenhuber and Poggio 1999; overlapping: Krizhevsky et al. 2012.

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

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1. Sequences alike.
    Source: LeCun et al. 1989.

    Example: `avg_pool: 2`  (28, 28, 6) -> (14, 14, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("avgpool", "avgpool2d", "average_pool", "mean_pool", "average_pooling2d")

    count_padding: bool = Field(False, description="true: padding counts as zeros of the window (PyTorch's default)")

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', C)."""
        from cnncli.ops.pooling import avg_pool

        sliding = self.sliding(x.shape[1:])
        counted = self.declared(x.shape[1:]).padding if self.count_padding else None
        return avg_pool(x, sliding.size, sliding.stride, sliding.padding, counted), {}

    def macs(self, shape: Shape) -> int:
        """One addition per value of each window."""
        return math.prod(self.out_shape(shape)) * math.prod(self.sliding(shape).size)


class L2Pool(Pool):
    """L2 pooling: the square root of the sum of squares of each window. The gradient is 0 where all are 0.

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1. Sequences alike.
    Source: Hyvarinen and Hoyer 2000; Sermanet, Chintala and LeCun 2012.

    Example: `l2_pool: 2`  (28, 28, 6) -> (14, 14, 6), 0 parameters
    """

    kind: ClassVar[str] = "l2_pool"
    words: ClassVar[tuple[str, ...]] = ("lp_pool", "lppool2d", "norm_pool", "l2pool")

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', C)."""
        from cnncli.ops.pooling import norm_pool

        sliding = self.sliding(x.shape[1:])
        return norm_pool(x, sliding.size, sliding.stride, sliding.padding), {}

    def macs(self, shape: Shape) -> int:
        """One square and addition per value of each window."""
        return math.prod(self.out_shape(shape)) * math.prod(self.sliding(shape).size)


class StochasticPool(Pool):
    """Stochastic pooling: in training one value of each window, drawn in proportion to its size; at test their mean
    weighted by the same probabilities, sum a^2 / sum a, which is the expectation of training.

    Input (H, W, C), not negative (put it behind a ReLU: what is below 0 counts as 0) -> output (H', W', C), H' =
    floor((H + padding - kernel) / stride) + 1. Sequences alike. Source: Zeiler and Fergus 2013.

    Example: `stochastic_pool: 2`  (28, 28, 6) -> (14, 14, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("stochastic_pooling", "random_pool", "probabilistic_pool")

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', C)."""
        import jax

        from cnncli.ops.pooling import sample_pool, weighted_pool

        sliding, x = self.sliding(x.shape[1:]), jax.nn.relu(x)
        window = sliding.size, sliding.stride, sliding.padding
        return (sample_pool(ctx.key, x, *window) if ctx.train else weighted_pool(x, *window)), {}

    def macs(self, shape: Shape) -> int:
        """A square, its sum and the sum per value of each window."""
        return 2 * math.prod(self.out_shape(shape)) * math.prod(self.sliding(shape).size)


class Subsample(Pool):
    """LeNet-5's subsampling: each window's average (or sum) times a trained coefficient plus a bias per channel.

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1; an activation follows.
    Sequences alike. Source: LeCun et al. 1998.

    Example: `subsample: 2`  (28, 28, 6) -> (14, 14, 6), 12 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("subsampling", "sub_sampling", "trainable_pool")

    of: Literal["average", "sum"] = Field("average", description="what the coefficient multiplies; the 1998 text: sum")
    coefficient_init: Init = Field(Ones(), alias="init", description="how the coefficients start")
    bias_init: Init = Field(Zeros(), description="how the biases start")

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """coefficient, bias (C,)."""
        channels, fans = shape[-1:], (math.prod(self.sliding(shape).size), 1)
        return {
            "coefficient": Weight(channels, self.coefficient_init, fans),
            "bias": Weight(channels, self.bias_init, fans),
        }

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H', W', C)."""
        self.weights(shape)  # given numbers fit
        return super().out_shape(shape)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, H', W', C)."""
        from cnncli.ops.pooling import avg_pool, sum_pool

        sliding = self.sliding(x.shape[1:])
        y = (sum_pool if self.of == "sum" else avg_pool)(x, sliding.size, sliding.stride, sliding.padding)
        return y * per_channel(variables.params["coefficient"], y) + per_channel(variables.params["bias"], y), {}

    def macs(self, shape: Shape) -> int:
        """One addition per value of each window, one multiply-add per output."""
        return math.prod(self.out_shape(shape)) * (math.prod(self.sliding(shape).size) + 1)


class Global(Layer):
    """Base of the pools over whole maps."""

    def out_shape(self, shape: Shape) -> Shape:
        """(H, W, C) -> (C,)."""
        if len(shape) < 2:
            raise ShapeError(f"needs a map, got the vector {times(shape)}", "Put it before flatten or fc.")
        return shape[-1:]

    def window(self, shape: Shape) -> Window:
        """Everything."""
        return whole(shape)


class GlobalAvgPool(Global):
    """Global average pooling: the mean of each whole map.

    Input (H, W, C) -> output (C,). Sequences alike.
    Source: Lin, Chen and Yan 2013 (Network in Network).

    Example: `global_avg_pool`  (8, 8, 64) -> (64,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("gap", "global_average_pooling2d", "adaptive_avg_pool", "global_average_pool")

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, C), summed in float32."""
        import jax.numpy as jnp

        return x.mean(tuple(range(1, x.ndim - 1)), dtype=jnp.float32).astype(x.dtype), {}

    def macs(self, shape: Shape) -> int:
        """One addition per value."""
        return math.prod(shape)


class GlobalMaxPool(Global):
    """Global max pooling: the largest value of each whole map. The gradient goes to the first maximum.

    Input (H, W, C) -> output (C,). Sequences alike.
    Source: Oquab et al. 2015 (Is object localization for free?).

    Example: `global_max_pool`  (8, 8, 64) -> (64,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("gmp", "global_max_pooling2d", "adaptive_max_pool", "global_maximum_pool")

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, H, W, C) -> (B, C)."""
        from cnncli.ops.pooling import global_max

        return global_max(x), {}
