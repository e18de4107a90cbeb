"""Normalisation."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from cnncli.errors import ShapeError
from cnncli.layers.base import Context, Layer, Shape, Variables, Weight, Window, times
from cnncli.layers.initializers import Ones, Zeros


def affine(shape: Shape, scale: bool, bias: bool) -> dict[str, Weight]:
    """What comes behind a normalisation: a scale that starts at 1 and a bias that starts at 0."""
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
    words: ClassVar[tuple[str, ...]] = ("bn", "batchnorm", "batchnorm2d", "batch_normalization")

    momentum: float = Field(0.9, ge=0, lt=1, description="share of the old running statistics kept each step")
    epsilon: PositiveFloat = Field(1e-5, description="added to the variance")
    scale: bool = Field(True, description="multiply by a trained number per channel (gamma)")
    bias: bool = Field(True, description="add a trained number per channel (beta)")

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """scale, bias (C,) trained; mean, var (C,) carried."""
        channels = shape[-1:]
        return affine(channels, self.scale, self.bias) | {
            "mean": Weight(channels, Zeros(), state=True),
            "var": Weight(channels, Ones(), state=True),
        }

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> the same; new running mean and var in training."""
        from cnncli.ops.normalization import batch_norm, normalize

        params, state = variables
        scale, bias = params.get("scale"), params.get("bias")
        if not ctx.train:
            return normalize(x, state["mean"], state["var"], scale, bias, self.epsilon), state
        y, mean, var = batch_norm(x, scale, bias, self.epsilon, ctx.add, ctx.relu)
        count = math.prod(x.shape[:-1])
        running = {
            "mean": self._blend(state["mean"], mean),
            "var": self._blend(state["var"], var * (count / max(count - 1, 1))),
        }
        return y, running

    def _blend(self, old: Any, new: Any) -> Any:
        return self.momentum * old + (1 - self.momentum) * new

    def macs(self, shape: Shape) -> int:
        """One per value: scale and shift with statistics folded in."""
        return math.prod(shape)


class LayerNorm(Layer):
    """Layer normalisation, of each example by itself: over the channels at each position, or over all values.

    Any input (..., C) -> the same shape. y = (x - mean) / sqrt(var + epsilon) * scale + bias, scale and bias of the
    normalised shape: (C,), or with over: all the input's. Source: Ba, Kiros and Hinton 2016; per position: Liu et al.
    2022 (ConvNeXt).

    Example: `layer_norm`  (28, 28, 6) -> (28, 28, 6), 12 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("ln", "layernorm", "layer_normalization")

    over: Literal["channels", "all"] = Field("channels", description="all: one mean and variance for the whole map")
    epsilon: PositiveFloat = Field(1e-5, description="added to the variance")
    scale: bool = Field(True, description="multiply by a trained number each")
    bias: bool = Field(True, description="add a trained number each")

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """scale, bias (C,) or of the input's shape."""
        return affine(shape[-1:] if self.over == "channels" else shape, self.scale, self.bias)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> the same."""
        import jax.numpy as jnp

        from cnncli.ops.normalization import moments, normalize

        wide, (scale, bias) = x.astype(jnp.float32), map(variables.params.get, ("scale", "bias"))
        mean, var = moments(wide, (x.ndim - 1,) if self.over == "channels" else tuple(range(1, x.ndim)))
        return normalize(wide, mean, var, scale, bias, self.epsilon).astype(x.dtype), {}

    def macs(self, shape: Shape) -> int:
        """Mean, variance and scaling: three per value."""
        return 3 * math.prod(shape)

    def window(self, shape: Shape) -> Window:
        """One position, or through mean and variance everything."""
        return super().window(shape) if self.over == "channels" else Window.everywhere(shape)


class GroupNorm(Layer):
    """Group normalisation, of each example by itself: over all positions and the channels of one of ``groups`` groups.

    Any input (..., C) -> the same shape. y = (x - mean) / sqrt(var + epsilon) * scale + bias, scale and bias (C,).
    One group per channel is instance normalisation. Source: Wu and He 2018; Ulyanov et al. 2016.

    Example: `group_norm: 3`  (28, 28, 6) -> (28, 28, 6), 12 parameters
    """

    main: ClassVar[str | None] = "groups"
    words: ClassVar[tuple[str, ...]] = ("gn", "groupnorm", "instance_norm", "group_normalization")

    groups: PositiveInt = Field(32, description="number of groups of channels; it divides the channels")
    epsilon: PositiveFloat = Field(1e-5, description="added to the variance")
    scale: bool = Field(True, description="multiply by a trained number per channel")
    bias: bool = Field(True, description="add a trained number per channel")

    def out_shape(self, shape: Shape) -> Shape:
        """The same, if the groups divide the channels."""
        if shape[-1] % self.groups:
            fit = max(g for g in range(1, min(self.groups, shape[-1]) + 1) if shape[-1] % g == 0)
            raise ShapeError(f"groups {self.groups} does not divide the {shape[-1]} channels of {times(shape)}",
                             f"Try groups: {fit}.")  # fmt: skip
        return shape

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """scale, bias (C,)."""
        return affine(shape[-1:], self.scale, self.bias)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> the same."""
        import jax.numpy as jnp

        from cnncli.ops.normalization import moments, normalize

        wide, (scale, bias) = x.astype(jnp.float32), map(variables.params.get, ("scale", "bias"))
        apart = wide.reshape(*x.shape[:-1], self.groups, -1)  # (B, ..., groups, C / groups)
        mean, var = moments(apart, (*range(1, x.ndim - 1), x.ndim))
        full = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])  # one number per example and channel
        mean, var = (jnp.repeat(each, x.shape[-1] // self.groups, axis=-1).reshape(full) for each in (mean, var))
        return normalize(wide, mean, var, scale, bias, self.epsilon).astype(x.dtype), {}

    def macs(self, shape: Shape) -> int:
        """Mean, variance and scaling: three per value."""
        return 3 * math.prod(shape)

    def window(self, shape: Shape) -> Window:
        """Through mean and variance, everything."""
        return Window.everywhere(shape)


class RmsNorm(Layer):
    """Root-mean-square normalisation over the channels at each position, without a mean.

    Any input (..., C) -> the same shape. y = x / sqrt(mean(x^2) + epsilon) * scale. Source: Zhang and Sennrich 2019.

    Example: `rms_norm`  (28, 28, 6) -> (28, 28, 6), 6 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("rmsnorm", "root_mean_square_norm")

    epsilon: PositiveFloat = Field(1e-6, description="added to the mean square")
    scale: bool = Field(True, description="multiply by a trained number per channel")

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """scale (C,)."""
        return affine(shape[-1:], self.scale, bias=False)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> the same."""
        import jax.numpy as jnp

        from cnncli.ops.normalization import normalize

        wide = x.astype(jnp.float32)
        square = jnp.square(wide).mean(-1, keepdims=True)
        zero = jnp.zeros_like(square)
        return normalize(wide, zero, square, variables.params.get("scale"), None, self.epsilon).astype(x.dtype), {}

    def macs(self, shape: Shape) -> int:
        """Square and scaling: two per value."""
        return 2 * math.prod(shape)


class Lrn(Layer):
    """Local response normalisation: each value divided by what its neighbouring channels do at its position.

    Any input (..., C) -> the same shape. y_c = x_c / (k + alpha / n * sum of x^2 over the n channels around c)^beta.
    The sum is divided by n as in Caffe and PyTorch; AlexNet's paper does not divide: its 1e-4 with n = 5 is the 5e-4
    that stands here. Source: Krizhevsky, Sutskever and Hinton 2012 (AlexNet).

    Example: `lrn: 5`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    main: ClassVar[str | None] = "n"
    words: ClassVar[tuple[str, ...]] = ("local_response_norm", "localresponsenorm", "response_norm", "cmrnorm")

    n: PositiveInt = Field(5, description="channels in the sum; of an even number one more before than behind")
    k: PositiveFloat = Field(2.0, description="added to the sum")
    alpha: NonNegativeFloat = Field(5e-4, description="weight of the mean square")
    beta: NonNegativeFloat = Field(0.75, description="the power of the divisor")

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> the same."""
        from cnncli.ops.normalization import response_normalize

        return response_normalize(x, self.n, self.k, self.alpha, self.beta), {}

    def macs(self, shape: Shape) -> int:
        """Square, n sums and division per value."""
        return (self.n + 2) * math.prod(shape)
