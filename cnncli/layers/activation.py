"""Activations: element by element, any shape in, the same shape out."""

import math
from typing import Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from cnncli.errors import ShapeError
from cnncli.layers.base import Context, Layer, Shape, Variables, Weight, times
from cnncli.layers.initializers import Constant


class Activation(Layer):
    """Base of the element-wise functions: one method, ``call``."""

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ...) -> the same."""
        return self.call(x), {}

    def call(self, x: Any) -> Any:
        """The function."""
        raise TypeError(f"{self.kind} computes nothing")


class Linear(Activation):
    """The identity, y = x: an output without an activation, said aloud. A layer of weights is `fc`.

    Any input -> the same shape.

    Example: `linear`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("none", "identity", "purelin")

    def call(self, x: Any) -> Any:
        """X."""
        return x


class _Threshold(Activation):
    """Base of the step functions, whose gradient is zero wherever it exists."""

    straight_through: bool = Field(False, description="let the gradient pass where |x| <= 1 (Hinton 2012, Bengio 2013)")

    def note(self) -> str:
        """The gradient's warning."""
        if self.straight_through:
            return ""
        return f"the gradient of {self.kind} is zero: nothing below it learns (straight_through: true lets it pass)"

    def call(self, x: Any) -> Any:
        """The step; its gradient is zero or, straight through, that of clip(x, -1, 1)."""
        import jax
        import jax.numpy as jnp

        y = jax.lax.stop_gradient(self.step(x))
        if not self.straight_through:
            return y
        slope = jnp.clip(x, -1, 1)
        return y + slope - jax.lax.stop_gradient(slope)

    def step(self, x: Any) -> Any:
        """The function without its gradient."""
        raise TypeError(f"{self.kind} computes nothing")


class Sign(_Threshold):
    """Bipolar threshold: 1 where x >= 0, else -1. The gradient is zero unless `straight_through`.

    Any input -> the same shape. Source: McCulloch and Pitts 1943; straight-through: Bengio et al. 2013.

    Example: `sign`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("hardlims", "sgn")

    def step(self, x: Any) -> Any:
        """-1 or 1."""
        import jax.numpy as jnp

        return jnp.where(x >= 0, jnp.ones_like(x), -jnp.ones_like(x))


class Hardlim(_Threshold):
    """Threshold: 1 where x >= 0, else 0: the perceptron's step. The gradient is zero unless `straight_through`.

    Any input -> the same shape. Source: Rosenblatt 1958.

    Example: `hardlim`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("step", "heaviside", "threshold")

    def step(self, x: Any) -> Any:
        """0 or 1."""
        import jax.numpy as jnp

        return jnp.where(x >= 0, jnp.ones_like(x), jnp.zeros_like(x))


class Sigmoid(Activation):
    """Logistic sigmoid, 1 / (1 + exp(-x)). Its slope is at most 1/4.

    Any input -> the same shape.

    Example: `sigmoid`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("logistic", "logsig")

    def call(self, x: Any) -> Any:
        """1 / (1 + exp(-x))."""
        import jax

        return jax.nn.sigmoid(x)


class Tanh(Activation):
    """Hyperbolic tangent.

    Any input -> the same shape.

    Example: `tanh`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("tansig",)

    def call(self, x: Any) -> Any:
        """tanh(x)."""
        import jax.numpy as jnp

        return jnp.tanh(x)


class ScaledTanh(Activation):
    """LeNet-5's squashing function, 1.7159 tanh(2x/3): f(1) = 1, f(-1) = -1, steepest curvature there.

    Any input -> the same shape. Source: LeCun et al. 1998, appendix A.

    Example: `scaled_tanh`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("lecun_tanh",)

    amplitude: PositiveFloat = Field(1.7159, description="A of A tanh(S x)")
    slope: PositiveFloat = Field(2 / 3, description="S of A tanh(S x)")

    def call(self, x: Any) -> Any:
        """A tanh(S x)."""
        import jax.numpy as jnp

        return self.amplitude * jnp.tanh(self.slope * x)


class Relu(Activation):
    """Rectified linear unit, max(0, x). Its gradient is 0 to the left and at 0.

    Any input -> the same shape. Source: Nair and Hinton 2010.

    Example: `relu`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("rectifier", "rectified_linear", "poslin")

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

        slope = variables.array("slope").astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
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


class HardSigmoid(Activation):
    """Piecewise linear sigmoid, clip(x/6 + 1/2, 0, 1).

    Any input -> the same shape. Source: Howard et al. 2019 (MobileNetV3).

    Example: `hard_sigmoid`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    def call(self, x: Any) -> Any:
        """clip(x/6 + 1/2, 0, 1)."""
        import jax

        return jax.nn.hard_sigmoid(x)


class HardTanh(Activation):
    """Piecewise linear tanh, clip(x, -1, 1).

    Any input -> the same shape. Source: Collobert 2004.

    Example: `hard_tanh`  (28, 28, 6) -> (28, 28, 6), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("satlins", "hardtanh")

    def call(self, x: Any) -> Any:
        """clip(x, -1, 1)."""
        import jax

        return jax.nn.hard_tanh(x)


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

    Input (..., C) -> output (..., C / pieces). The layer below needs pieces times the channels, so parameters multiply.
    Source: Goodfellow et al. 2013.

    Example: `maxout: 2`  (28, 28, 6) -> (28, 28, 3), 0 parameters
    """

    main: ClassVar[str | None] = "pieces"

    pieces: PositiveInt = Field(2, description="channels that compete for one output")

    def out_shape(self, shape: Shape) -> Shape:
        """(..., C) -> (..., C / pieces)."""
        if shape[-1] % self.pieces:
            raise ShapeError(f"pieces {self.pieces} does not divide the {shape[-1]} channels of {times(shape)}",
                             f"Give the layer below {-(-shape[-1] // self.pieces) * self.pieces} channels.")  # fmt: skip
        return (*shape[:-1], shape[-1] // self.pieces)

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ..., C) -> (B, ..., C / pieces)."""
        return x.reshape(*x.shape[:-1], -1, self.pieces).max(-1), {}


class Softmax(Activation):
    """Probabilities over the channels, exp(x_i) / sum exp(x). As the last layer with cross-entropy it trains on logits.

    Any input (..., C) -> the same shape; each position sums to 1. Source: Bridle 1990.

    Example: `softmax`  (10,) -> (10,), 0 parameters
    """

    words: ClassVar[tuple[str, ...]] = ("softmax_layer",)

    def call(self, x: Any) -> Any:
        """exp(x - max) / sum, in float32."""
        import jax
        import jax.numpy as jnp

        return jax.nn.softmax(x.astype(jnp.float32), axis=-1).astype(x.dtype)
