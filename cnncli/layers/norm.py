"""Normalization."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Array, Call, Layer, Resolved, Shape, Weight, Window, times
from cnncli.layers.initializers import Ones, Zeros
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.ops import normalization


def scale_and_bias(shape: Shape, scale: bool, bias: bool) -> dict[str, Weight]:
    """The arrays behind a normalization: a scale that starts at 1 and a bias that starts at 0."""
    weights = {"scale": Weight(shape, Ones())} if scale else {}
    return weights | ({"bias": Weight(shape, Zeros())} if bias else {})


class BatchNorm(Layer):
    """Batch normalisation per channel: over batch and positions in training, with running statistics at test.

    Any input (..., C) -> the same shape. y = (x - mean) / sqrt(var + epsilon) * scale + bias. The running variance is
    the unbiased one; running = momentum * running + (1 - momentum) * batch.
    Source: Ioffe and Szegedy 2015.

    Example: `batch_norm`  (28, 28, 6) -> (28, 28, 6), 12 parameters
    """

    absorbs: ClassVar[bool] = True
    aliases: ClassVar[tuple[str, ...]] = ("bn", "batchnorm", "batchnorm2d", "batch_normalization")

    momentum: float = Field(0.9, ge=0, lt=1, description="share of the old running statistics kept each step")
    epsilon: PositiveFloat = Field(1e-5, description="added to the variance")
    scale: bool = Field(True, description="multiply by a trained number per channel (gamma)")
    bias: bool = Field(True, description="add a trained number per channel (beta)")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        channels = shape[-1:]
        weights = scale_and_bias(channels, self.scale, self.bias) | {
            "mean": Weight(channels, Zeros(), state=True),
            "var": Weight(channels, Ones(), state=True),
        }
        return Resolved(shape, Window.element(shape), weights, macs=math.prod(shape))

    @override
    def apply(self, call: Call, *inputs: Array) -> tuple[Array, dict[str, Array]]:
        (x,) = inputs
        state, scale, bias = call.state, call.optional("scale"), call.optional("bias")
        if not call.train:
            return normalization.normalize(x, state["mean"], state["var"], scale, bias, self.epsilon), state
        y, mean, var = normalization.batch_norm(x, scale, bias, self.epsilon, call.add, call.relu)
        count = math.prod(x.shape[:-1])
        batch = {"mean": mean, "var": var * (count / max(count - 1, 1))}
        return y, {name: self.momentum * state[name] + (1 - self.momentum) * new for name, new in batch.items()}


class LayerNorm(Layer):
    """Layer normalisation, of each example by itself: over the channels at each position, or over all values.

    Any input (..., C) -> the same shape. y = (x - mean) / sqrt(var + epsilon) * scale + bias, scale and bias of the
    normalised shape: (C,), or with over: all the input's. Source: Ba, Kiros and Hinton 2016; per position: Liu et al.
    2022 (ConvNeXt).

    Example: `layer_norm`  (28, 28, 6) -> (28, 28, 6), 12 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("ln", "layernorm", "layer_normalization")

    over: Literal["channels", "all"] = Field("channels", description="all: one mean and variance for the whole map")
    epsilon: PositiveFloat = Field(1e-5, description="added to the variance")
    scale: bool = Field(True, description="multiply by a trained number each")
    bias: bool = Field(True, description="add a trained number each")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        everything = self.over == "all"
        weights = scale_and_bias(shape if everything else shape[-1:], self.scale, self.bias)
        window = Window.everywhere(shape) if everything else Window.element(shape)
        return Resolved(shape, window, weights, macs=3 * math.prod(shape))  # mean, variance, scaling

    @override
    def forward(self, call: Call, x: Array) -> Array:
        axes = tuple(range(1, x.ndim)) if self.over == "all" else (x.ndim - 1,)
        return normalization.layer_norm(x, axes, call.optional("scale"), call.optional("bias"), self.epsilon)


class GroupNorm(Layer):
    """Group normalisation, of each example by itself: over all positions and the channels of one of ``groups`` groups.

    Any input (..., C) -> the same shape. y = (x - mean) / sqrt(var + epsilon) * scale + bias, scale and bias (C,).
    One group per channel is instance normalisation. Source: Wu and He 2018; Ulyanov et al. 2016.

    Example: `group_norm: 3`  (28, 28, 6) -> (28, 28, 6), 12 parameters
    """

    shorthand: ClassVar[str | None] = "groups"
    aliases: ClassVar[tuple[str, ...]] = ("gn", "groupnorm", "instance_norm", "group_normalization")

    groups: PositiveInt = Field(32, description="number of groups of channels; it divides the channels")
    epsilon: PositiveFloat = Field(1e-5, description="added to the variance")
    scale: bool = Field(True, description="multiply by a trained number per channel")
    bias: bool = Field(True, description="add a trained number per channel")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        if shape[-1] % self.groups:
            fit = max(g for g in range(1, min(self.groups, shape[-1]) + 1) if shape[-1] % g == 0)
            raise ShapeError(f"groups {self.groups} does not divide the {shape[-1]} channels of {times(shape)}",
                             f"Try groups: {fit}.")  # fmt: skip
        weights = scale_and_bias(shape[-1:], self.scale, self.bias)
        return Resolved(shape, Window.everywhere(shape), weights, macs=3 * math.prod(shape))

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return normalization.group_norm(x, self.groups, call.optional("scale"), call.optional("bias"), self.epsilon)


class RmsNorm(Layer):
    """Root-mean-square normalisation over the channels at each position, without a mean.

    Any input (..., C) -> the same shape. y = x / sqrt(mean(x^2) + epsilon) * scale. Source: Zhang and Sennrich 2019.

    Example: `rms_norm`  (28, 28, 6) -> (28, 28, 6), 6 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("rmsnorm", "root_mean_square_norm")

    epsilon: PositiveFloat = Field(1e-6, description="added to the mean square")
    scale: bool = Field(True, description="multiply by a trained number per channel")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        weights = scale_and_bias(shape[-1:], self.scale, bias=False)
        return Resolved(shape, Window.element(shape), weights, macs=2 * math.prod(shape))  # square, scaling

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return normalization.rms_norm(x, call.optional("scale"), self.epsilon)


class Lrn(Layer):
    """Local response normalisation: each value divided by what its neighbouring channels do at its position.

    Any input (..., C) -> the same shape. y_c = x_c / (k + alpha / n * sum of x^2 over the n channels around c)^beta.
    The sum is divided by n as in Caffe and PyTorch; AlexNet's paper does not divide: its 1e-4 with n = 5 is the 5e-4
    that stands here. Source: Krizhevsky, Sutskever and Hinton 2012 (AlexNet).

    Example: `lrn: 5`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    shorthand: ClassVar[str | None] = "n"
    aliases: ClassVar[tuple[str, ...]] = ("local_response_norm", "localresponsenorm", "response_norm", "cmrnorm")

    n: PositiveInt = Field(5, description="channels in the sum; of an even number one more before than behind")
    k: PositiveFloat = Field(2.0, description="added to the sum")
    alpha: NonNegativeFloat = Field(5e-4, description="weight of the mean square")
    beta: NonNegativeFloat = Field(0.75, description="the power of the divisor")

    @override
    def resolve(self, shape: Shape) -> Resolved:
        return Resolved(shape, Window.element(shape), macs=(self.n + 2) * math.prod(shape))  # square, n sums, division

    @override
    def forward(self, call: Call, x: Array) -> Array:
        return normalization.response_normalize(x, self.n, self.k, self.alpha, self.beta)
