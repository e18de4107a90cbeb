"""Pooling: each channel by itself. Only `subsample` has parameters."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Array, Call, Layer, Resolved, Shape, Weight, Window, times
from cnncli.layers.initializers import Init, Ones, Zeros
from cnncli.layers.sizes import Extent, Padding, slide
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.ops import channels, pooling


class Pool(Layer):
    """Base class of the pools: windows of ``kernel``, every ``stride`` (the kernel's size unless given)."""

    shorthand: ClassVar[str | None] = "kernel"
    macs_per_tap: ClassVar[int] = 0  # multiply-adds for each value of a window

    kernel: Extent = Field(2, description="size of the window")
    stride: Extent | None = Field(None, description="pixels between windows; the kernel's size unless given")
    padding: Padding = Field("valid", description="as in conv; padding never wins a maximum")
    rounding: Literal["floor", "ceil"] = Field("floor", description="ceil: a last, partial window counts too")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        stride = self.kernel if self.stride is None else self.stride
        sliding = slide(shape, self.kernel, stride, self.padding, ceil=self.rounding == "ceil")
        if any(max(sides) >= k for sides, k in zip(sliding.padding, sliding.size, strict=True)):
            raise ShapeError(f"padding {self.padding} is as wide as the {times(sliding.size)} window",
                             "A window would see nothing but padding: use less.")  # fmt: skip
        out = (*sliding.out, shape[-1])
        macs = self.macs_per_tap * math.prod(out) * math.prod(sliding.size)
        return Resolved(out, Window.sliding(sliding), macs=macs, sliding=sliding)


class MaxPool(Pool):
    """Max pooling: the largest value of each window. The gradient goes to the first maximum.

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1; overlapping if stride <
    kernel. Sequences alike. Source: Riesenhuber and Poggio 1999; overlapping: Krizhevsky et al. 2012.

    Example: `max_pool: 2`  (28, 28, 6) -> (14, 14, 6), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("maxpool", "maxpool2d", "max_pool2d", "max_pooling2d", "maxpooling", "pool")

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return pooling.max_pool(x, call.sliding)


class AvgPool(Pool):
    """Average pooling: the mean of each window. The gradient is spread evenly.

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1. Sequences alike.
    Source: LeCun et al. 1989.

    Example: `avg_pool: 2`  (28, 28, 6) -> (14, 14, 6), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("avgpool", "avgpool2d", "average_pool", "mean_pool", "average_pooling2d")
    macs_per_tap: ClassVar[int] = 1

    count_padding: bool = Field(False, description="true: padding counts as zeros of the window (PyTorch's default)")

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return pooling.avg_pool(x, call.sliding, self.count_padding)


class L2Pool(Pool):
    """L2 pooling: the square root of the sum of squares of each window. The gradient is 0 where all are 0.

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1. Sequences alike.
    Source: Hyvarinen and Hoyer 2000; Sermanet, Chintala and LeCun 2012.

    Example: `l2_pool: 2`  (28, 28, 6) -> (14, 14, 6), 0 parameters
    """

    kind: ClassVar[str] = "l2_pool"
    aliases: ClassVar[tuple[str, ...]] = ("lp_pool", "lppool2d", "norm_pool", "l2pool")
    macs_per_tap: ClassVar[int] = 1

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return pooling.norm_pool(x, call.sliding)


class StochasticPool(Pool):
    """Stochastic pooling: in training one value of each window, drawn in proportion to its size; at test their mean
    weighted by the same probabilities, sum a^2 / sum a, which is the expectation of training.

    Input (H, W, C), not negative (put it behind a ReLU: what is below 0 counts as 0) -> output (H', W', C), H' =
    floor((H + padding - kernel) / stride) + 1. Sequences alike. Source: Zeiler and Fergus 2013.

    Example: `stochastic_pool: 2`  (28, 28, 6) -> (14, 14, 6), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("stochastic_pooling", "random_pool", "probabilistic_pool")
    macs_per_tap: ClassVar[int] = 2

    @override
    def forward(self, call: Call, x: Array) -> Array:
        if call.key is None:
            return pooling.weighted_pool(x, call.sliding)
        return pooling.sample_pool(call.key, x, call.sliding)


class Subsample(Pool):
    """LeNet-5's subsampling: each window's average (or sum) times a trained coefficient plus a bias per channel.

    Input (H, W, C) -> output (H', W', C), H' = floor((H + padding - kernel) / stride) + 1; an activation follows.
    Sequences alike. Source: LeCun et al. 1998.

    Example: `subsample: 2`  (28, 28, 6) -> (14, 14, 6), 12 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("subsampling", "sub_sampling", "trainable_pool")
    macs_per_tap: ClassVar[int] = 1

    of: Literal["average", "sum"] = Field("average", description="what the coefficient multiplies; the 1998 text: sum")
    coefficient_init: Init = Field(Ones(), alias="init", description="how the coefficients start")
    bias_init: Init = Field(Zeros(), description="how the biases start")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        pool = super().resolve(shape)
        channels, fans = shape[-1:], (math.prod(pool.sliding.size), 1)
        inits = {"coefficient": self.coefficient_init, "bias": self.bias_init}
        weights = {name: Weight(channels, init, fans) for name, init in inits.items()}
        return replace(pool, weights=weights, macs=pool.macs + math.prod(pool.shape))

    @override
    def forward(self, call: Call, x: Array) -> Array:
        pool = pooling.sum_pool if self.of == "sum" else pooling.avg_pool
        y = pool(x, call.sliding)
        return channels.scale_and_shift(y, call.array("coefficient"), call.array("bias"))


class GlobalPool(Layer):
    """Base class of the pools over whole maps."""

    macs_per_value: ClassVar[int] = 0

    @override
    def resolve(self, shape: Shape) -> Resolved:
        if len(shape) < 2:
            raise ShapeError(f"needs a map, got the vector {times(shape)}", "Put it before flatten or fc.")
        return Resolved(shape[-1:], Window.whole(shape), macs=self.macs_per_value * math.prod(shape))


class GlobalAvgPool(GlobalPool):
    """Global average pooling: the mean of each whole map.

    Input (H, W, C) -> output (C,). Sequences alike.
    Source: Lin, Chen and Yan 2013 (Network in Network).

    Example: `global_avg_pool`  (8, 8, 64) -> (64,), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("gap", "global_average_pooling2d", "adaptive_avg_pool", "global_average_pool")
    macs_per_value: ClassVar[int] = 1

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return pooling.global_avg(x)


class GlobalMaxPool(GlobalPool):
    """Global max pooling: the largest value of each whole map. The gradient goes to the first maximum.

    Input (H, W, C) -> output (C,). Sequences alike.
    Source: Oquab et al. 2015 (Is object localization for free?).

    Example: `global_max_pool`  (8, 8, 64) -> (64,), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("gmp", "global_max_pooling2d", "adaptive_max_pool", "global_maximum_pool")

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return pooling.global_max(x)
