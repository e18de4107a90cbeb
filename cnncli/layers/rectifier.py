"""Rectifiers: activations without an upper bound, from ReLU to maxout."""

import math
from typing import Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from cnncli.errors import ShapeError
from cnncli.layers.activation import Activation
from cnncli.layers.base import Context, Layer, Shape, Variables, Weight, per_channel, times
from cnncli.layers.initializers import Constant


class Relu(Activation):
    """Rectified linear unit, max(0, x). Its gradient is 0 to the left and at 0.

    Any input -> the same shape. Source: Nair and Hinton 2010.

    Example: `relu`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("rectifier", "rectified_linear", "poslin")

    def flat_ends(self) -> tuple[float, ...]:
        """Where its slope is zero or nearly so."""
        return (0.0,)

    def call(self, x: Any) -> Any:
        """max(0, x)."""
        import jax

        return jax.nn.relu(x)


class LeakyRelu(Activation):
    """ReLU that leaks: x where x >= 0, else slope * x.

    Any input -> the same shape. Source: Maas, Hannun and Ng 2013.

    Example: `leaky_relu: 0.1`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    main: ClassVar[str | None] = "slope"
    words: ClassVar[tuple[str, ...]] = ("lrelu", "leaky", "leakyrelu")

    slope: float = Field(0.01, ge=0, description="slope to the left of 0")

    def call(self, x: Any) -> Any:
        """X or slope * x."""
        import jax

        return jax.nn.leaky_relu(x, self.slope)


class Prelu(Layer):
    """ReLU with a trained slope per channel to the left of 0.

    Any input (..., C) -> the same shape. Source: He et al. 2015 (delving deep into rectifiers).

    Example: `prelu`  (28, 28, 6) -> (28, 28, 6), 6 parameters
    """

    main: ClassVar[str | None] = "start"
    words: ClassVar[tuple[str, ...]] = ("parametric_relu",)

    start: float = Field(0.25, description="the slopes' first value")

    def weights(self, shape: Shape) -> dict[str, Weight]:
        """slope (C,)."""
        return {"slope": Weight(shape[-1:], Constant(value=self.start))}

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> the same."""
        import jax.numpy as jnp

        slope = per_channel(variables.array("slope"), x)
        return jnp.where(x > 0, x, slope * x), {}

    def macs(self, shape: Shape) -> int:
        """One per value."""
        return math.prod(shape)


class Elu(Activation):
    """Exponential linear unit: x where x > 0, else scale * (exp(x) - 1).

    Any input -> the same shape. Source: Clevert, Unterthiner and Hochreiter 2015.

    Example: `elu`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    main: ClassVar[str | None] = "scale"

    scale: PositiveFloat = Field(1.0, description="minus the limit to the left (alpha)")

    def call(self, x: Any) -> Any:
        """X or scale * (exp(x) - 1)."""
        import jax

        return jax.nn.elu(x, self.scale)


class Selu(Activation):
    """Self-normalising ELU with fixed constants; start the weights with `lecun_normal`.

    Any input -> the same shape. Source: Klambauer et al. 2017.

    Example: `selu`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    def call(self, x: Any) -> Any:
        """1.0507 elu(x, 1.6733)."""
        import jax

        return jax.nn.selu(x)


class Softplus(Activation):
    """Smooth ReLU, log(1 + exp(x)).

    Any input -> the same shape. Source: Dugas et al. 2001.

    Example: `softplus`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    def call(self, x: Any) -> Any:
        """log(1 + exp(x))."""
        import jax

        return jax.nn.softplus(x)


class Gelu(Activation):
    """Gaussian error linear unit, x times the normal distribution function of x.

    Any input -> the same shape. Source: Hendrycks and Gimpel 2016.

    Example: `gelu`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    approximate: bool = Field(False, description="the tanh approximation instead of erf")

    def call(self, x: Any) -> Any:
        """X * Phi(x)."""
        import jax

        return jax.nn.gelu(x, approximate=self.approximate)


class Swish(Activation):
    """Swish (SiLU when beta is 1), x * sigmoid(beta x).

    Any input -> the same shape. Source: Ramachandran, Zoph and Le 2017; Elfwing et al. 2017.

    Example: `swish`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    main: ClassVar[str | None] = "beta"
    words: ClassVar[tuple[str, ...]] = ("silu",)

    beta: float = Field(1.0, description="0: linear, large: ReLU")

    def call(self, x: Any) -> Any:
        """X * sigmoid(beta x)."""
        import jax

        return x * jax.nn.sigmoid(self.beta * x)


class HardSwish(Activation):
    """Piecewise swish, x * clip(x/6 + 1/2, 0, 1).

    Any input -> the same shape. Source: Howard et al. 2019 (MobileNetV3).

    Example: `hard_swish`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("hard_silu",)

    def call(self, x: Any) -> Any:
        """X * clip(x/6 + 1/2, 0, 1)."""
        import jax

        return jax.nn.hard_swish(x)


class Maxout(Layer):
    """The largest of ``pieces`` neighbouring channels: a convex function learnt from linear pieces.

    Input (..., C) -> output (..., C / pieces). The layer below needs pieces times the channels, so parameters
    multiply.
    Source: Goodfellow et al. 2013.

    Example: `maxout: 2`  (28, 28, 6) -> (28, 28, 3), 0 parameters
    """

    main: ClassVar[str | None] = "pieces"

    pieces: PositiveInt = Field(2, description="channels that compete for one output")

    def out_shape(self, shape: Shape) -> Shape:
        """(..., C) -> (..., C / pieces)."""
        if shape[-1] % self.pieces:
            wanted = -(-shape[-1] // self.pieces) * self.pieces
            raise ShapeError(f"pieces {self.pieces} does not divide the {shape[-1]} channels of {times(shape)}",
                             f"Give the layer below {wanted} channels.")  # fmt: skip
        return (*shape[:-1], shape[-1] // self.pieces)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> (B, ..., C / pieces)."""
        return x.reshape(*x.shape[:-1], -1, self.pieces).max(-1), {}
