"""Normalisation."""

import math
from typing import Any, ClassVar

from pydantic import Field, PositiveFloat

from cnncli.layers.base import Context, Layer, Shape, Variables, Weight
from cnncli.layers.initializers import Ones, Zeros


class BatchNorm(Layer):
    """Batch normalisation per channel: over batch and positions in training, with running statistics at test.

    Any input (..., C) -> the same shape. y = (x - mean) / sqrt(var + epsilon) * scale + bias. The running variance is
    the unbiased one; running = momentum * running + (1 - momentum) * batch.
    Source: Ioffe and Szegedy 2015.

    Example: `batch_norm`  (28, 28, 6) -> (28, 28, 6), 12 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("bn", "batchnorm", "batchnorm2d", "batch_normalization")

    momentum: float = Field(0.9, ge=0, lt=1, description="share of the old running statistics kept each step")
    epsilon: PositiveFloat = Field(1e-5, description="added to the variance")
    scale: bool = Field(True, description="multiply by a trained number per channel (gamma)")
    bias: bool = Field(True, description="add a trained number per channel (beta)")

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """scale, bias (C,) trained; mean, var (C,) carried."""
        channels = shape[-1:]
        weights = {"scale": Weight(channels, Ones())} if self.scale else {}
        if self.bias:
            weights["bias"] = Weight(channels, Zeros())
        return weights | {
            "mean": Weight(channels, Zeros(), state=True),
            "var": Weight(channels, Ones(), state=True),
        }

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> the same; new running mean and var in training."""
        from cnncli.ops.normalization import moments, normalize

        (params, state), axes = variables, tuple(range(x.ndim - 1))
        scale, bias = params.get("scale"), params.get("bias")
        if not ctx.train:
            return normalize(x, state["mean"], state["var"], scale, bias, self.epsilon), state
        mean, var = moments(x, axes)
        count = math.prod(x.shape[:-1])
        running = {
            "mean": self._blend(state["mean"], mean.reshape(-1)),
            "var": self._blend(state["var"], var.reshape(-1) * (count / max(count - 1, 1))),
        }
        return normalize(x, mean, var, scale, bias, self.epsilon), running

    def _blend(self, old: Any, new: Any) -> Any:
        return self.momentum * old + (1 - self.momentum) * new

    def macs(self, shape: Shape) -> int:
        """One per value: scale and shift with statistics folded in."""
        return math.prod(shape)
