"""How weights start. Each is drawn from its own key; fans are those of one unit (kernel taps times channels).

``he``, ``glorot`` and ``lecun`` scale by the fans so that activations keep their size through the depth.
"""

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveFloat

from cnncli.layers.fixed import (
    Constant,
    Fans,
    Gaussian,
    Given,
    Identity,
    Initializer,
    Laplacian,
    Ones,
    Shape,
    Sobel,
    Zeros,
)
from cnncli.spec import one_of

if TYPE_CHECKING:
    from jax import Array


class Normal(Initializer):
    """Gaussian with mean 0 and standard deviation ``std``."""

    main: ClassVar[str | None] = "std"
    std: PositiveFloat = Field(0.01, description="standard deviation")

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """N(0, std^2)."""
        return _normal(key, shape, self.std)


class TruncatedNormal(Initializer):
    """Gaussian cut at two standard deviations, rescaled so that its standard deviation is ``std``."""

    main: ClassVar[str | None] = "std"
    std: PositiveFloat = Field(0.01, description="standard deviation")

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """N(0, std^2) within two standard deviations."""
        return _truncated(key, shape, self.std)


class Uniform(Initializer):
    """Evenly between -``bound`` and ``bound``."""

    main: ClassVar[str | None] = "bound"
    bound: PositiveFloat = Field(0.05, description="the largest magnitude")

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """U(-bound, bound)."""
        return _uniform(key, shape, self.bound)


class Scaled(Initializer):
    """Base of the fan-scaled ones: variance = ``gain`` / fan."""

    gain: ClassVar[float] = 1.0
    fan: ClassVar[Literal["in", "average"]] = "in"

    def std(self, fans: Fans) -> float:
        """Standard deviation of one weight."""
        fan = fans[0] if self.fan == "in" else (fans[0] + fans[1]) / 2
        return math.sqrt(self.gain / max(fan, 1))


class HeNormal(Scaled):
    """Normal (cut at two standard deviations) with variance 2 / fan-in: for ReLU. He et al. 2015."""

    words: ClassVar[tuple[str, ...]] = ("he", "kaiming", "kaiming_normal", "msra")
    gain: ClassVar[float] = 2.0

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """Truncated normal."""
        return _truncated(key, shape, self.std(fans))


class HeUniform(Scaled):
    """Uniform with variance 2 / fan-in. He et al. 2015."""

    words: ClassVar[tuple[str, ...]] = ("kaiming_uniform",)
    gain: ClassVar[float] = 2.0

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """Uniform."""
        return _uniform(key, shape, math.sqrt(3) * self.std(fans))


class GlorotNormal(Scaled):
    """Normal (cut at two standard deviations) with variance 2 / (fan-in + fan-out). Glorot and Bengio 2010."""

    words: ClassVar[tuple[str, ...]] = ("xavier", "xavier_normal", "glorot")
    fan: ClassVar[Literal["in", "average"]] = "average"

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """Truncated normal."""
        return _truncated(key, shape, self.std(fans))


class GlorotUniform(Scaled):
    """Uniform with variance 2 / (fan-in + fan-out): for tanh and sigmoid. Glorot and Bengio 2010."""

    words: ClassVar[tuple[str, ...]] = ("xavier_uniform",)
    fan: ClassVar[Literal["in", "average"]] = "average"

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """Uniform."""
        return _uniform(key, shape, math.sqrt(3) * self.std(fans))


class LecunNormal(Scaled):
    """Normal (cut at two standard deviations) with variance 1 / fan-in: for SELU. LeCun et al. 1998."""

    words: ClassVar[tuple[str, ...]] = ("lecun",)

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """Truncated normal."""
        return _truncated(key, shape, self.std(fans))


class LecunUniform(Scaled):
    """Uniform with variance 1 / fan-in. LeCun et al. 1998."""

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """Uniform."""
        return _uniform(key, shape, math.sqrt(3) * self.std(fans))


class Orthogonal(Initializer):
    """Orthonormal rows or columns (taps and input channels against outputs), times ``scale``. Saxe et al. 2013."""

    main: ClassVar[str | None] = "scale"
    scale: PositiveFloat = Field(1.0, description="length of each row or column")

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """A (semi-)orthogonal matrix, reshaped."""
        import jax
        import jax.numpy as jnp

        matrix = (math.prod(shape[:-1]), shape[-1])
        return jax.nn.initializers.orthogonal(self.scale)(key, matrix, jnp.float32).reshape(shape)


def _normal(key: "Array", shape: Shape, std: float) -> "Array":
    import jax
    import jax.numpy as jnp

    return jax.random.normal(key, shape, jnp.float32) * std


def _truncated(key: "Array", shape: Shape, std: float) -> "Array":
    import jax
    import jax.numpy as jnp

    # 0.8796...: the standard deviation of a unit normal cut at +-2
    return jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32) * (std / 0.87962566103423978)


def _uniform(key: "Array", shape: Shape, bound: float) -> "Array":
    import jax
    import jax.numpy as jnp

    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


INITIALIZERS = (
    Zeros, Ones, Constant, Normal, TruncatedNormal, Uniform, HeNormal, HeUniform, GlorotNormal, GlorotUniform,
    LecunNormal, LecunUniform, Orthogonal, Identity, Gaussian, Sobel, Laplacian, Given,
)  # fmt: skip
Init = one_of(INITIALIZERS)
