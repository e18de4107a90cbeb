"""How weights start: constants, random numbers, the filters of image processing, or numbers written out.

Random numbers are drawn from a key of their own. Fans are those of one unit: kernel taps times channels. ``he``,
``glorot`` and ``lecun`` scale by the fans, so that activations keep their size through the depth.
A filter's taps fill a kernel (*taps, C, filters) so that filter i sees channel ``i mod C`` and no other.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, WithJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Array, Shape, times
from cnncli.lazy import lazy_imports
from cnncli.spec import Spec, describe, one_of

with lazy_imports():
    from cnncli.ops import random

Fans = tuple[int, int]


class Initializer(Spec):
    """Base class of the ways in which an array starts."""

    family: ClassVar[str] = "initializer"

    def check_shape(self, shape: Shape) -> None:
        """ShapeError if an array of ``shape`` cannot start like this."""

    def draw(self, key: Array, shape: Shape, fans: Fans) -> Array:
        """A float32 array of ``shape``: by the function of this name in `ops/random.py`, unless overridden."""
        return getattr(random, self.kind)(key, shape, **dict(self))


class ConstantInitializer(Initializer):
    """Every weight the same number."""

    shorthand: ClassVar[str | None] = "value"
    value: float = Field(description="the number")


class Zeros(Initializer):
    """All zero: biases."""


class Ones(Initializer):
    """All one: norm scales."""


class Normal(Initializer):
    """Gaussian with mean 0 and standard deviation ``std``."""

    shorthand: ClassVar[str | None] = "std"
    std: PositiveFloat = Field(0.01, description="standard deviation")


class TruncatedNormal(Initializer):
    """Gaussian cut at two standard deviations, rescaled so that its standard deviation is ``std``."""

    shorthand: ClassVar[str | None] = "std"
    std: PositiveFloat = Field(0.01, description="standard deviation")


class Uniform(Initializer):
    """Evenly between -``bound`` and ``bound``."""

    shorthand: ClassVar[str | None] = "bound"
    bound: PositiveFloat = Field(0.05, description="the largest magnitude")


class Scaled(Initializer):
    """Base class of those scaled by the fans: the variance is ``gain`` / fan."""

    gain: ClassVar[float] = 1.0
    fan: ClassVar[Literal["in", "average"]] = "in"
    distribution: ClassVar[Literal["normal", "uniform"]] = "normal"

    @override
    def draw(self, key: Array, shape: Shape, fans: Fans) -> Array:
        fan = fans[0] if self.fan == "in" else (fans[0] + fans[1]) / 2
        std = math.sqrt(self.gain / max(fan, 1))
        if self.distribution == "uniform":
            return random.uniform(key, shape, math.sqrt(3) * std)
        return random.truncated_normal(key, shape, std)


class HeNormal(Scaled):
    """Normal (cut at two standard deviations) with variance 2 / fan-in: for ReLU. He et al. 2015."""

    aliases: ClassVar[tuple[str, ...]] = ("he", "kaiming", "kaiming_normal", "msra")
    gain: ClassVar[float] = 2.0


class HeUniform(HeNormal):
    """Uniform with variance 2 / fan-in. He et al. 2015."""

    aliases: ClassVar[tuple[str, ...]] = ("kaiming_uniform",)
    distribution: ClassVar[Literal["normal", "uniform"]] = "uniform"


class GlorotNormal(Scaled):
    """Normal (cut at two standard deviations) with variance 2 / (fan-in + fan-out). Glorot and Bengio 2010."""

    aliases: ClassVar[tuple[str, ...]] = ("xavier", "xavier_normal", "glorot")
    fan: ClassVar[Literal["in", "average"]] = "average"


class GlorotUniform(GlorotNormal):
    """Uniform with variance 2 / (fan-in + fan-out): for tanh and sigmoid. Glorot and Bengio 2010."""

    aliases: ClassVar[tuple[str, ...]] = ("xavier_uniform",)
    distribution: ClassVar[Literal["normal", "uniform"]] = "uniform"


class LecunNormal(Scaled):
    """Normal (cut at two standard deviations) with variance 1 / fan-in: for SELU. LeCun et al. 1998."""

    aliases: ClassVar[tuple[str, ...]] = ("lecun",)


class LecunUniform(Scaled):
    """Uniform with variance 1 / fan-in. LeCun et al. 1998."""

    distribution: ClassVar[Literal["normal", "uniform"]] = "uniform"


class Orthogonal(Initializer):
    """Orthonormal rows or columns (taps and input channels against outputs), times ``scale``. Saxe et al. 2013."""

    shorthand: ClassVar[str | None] = "scale"
    scale: PositiveFloat = Field(1.0, description="length of each row or column")


class Filter(Initializer):
    """Base class of the filters of image processing, for the kernels of convolutions."""

    sizes: ClassVar[tuple[Shape, ...]] = ()  # the kernels it can fill; empty for any

    @override
    def check_shape(self, shape: Shape) -> None:
        if len(shape) not in (3, 4):
            raise ShapeError(f"{self.kind} is for the kernel of a convolution, not for {_times(shape)} weights",
                             "Try init: he_normal.")  # fmt: skip
        if self.sizes and shape[:-2] not in self.sizes:
            known = " or ".join(map(_times, self.sizes))
            raise ShapeError(f"{self.kind} is a {known} filter, the kernel is {_times(shape[:-2])}", "Try kernel: 3.")

    @override
    def draw(self, key: Array, shape: Shape, fans: Fans) -> Array:
        return random.in_each_channel(self.taps(shape[:-2]), shape)

    def taps(self, size: Shape) -> list[float]:
        """The numbers of a filter of ``size`` in reading order."""
        raise TypeError(f"{self.kind} has no taps")


class Gaussian(Filter):
    """Gaussian blur: exp(-r^2 / 2 sigma^2) around the kernel's centre, sum 1. Filter i smooths channel i mod C."""

    shorthand: ClassVar[str | None] = "sigma"

    sigma: PositiveFloat = Field(1.0, description="standard deviation in pixels")

    @override
    def taps(self, size: Shape) -> list[float]:
        axes = [[math.exp(-(((tap - (n - 1) / 2) / self.sigma) ** 2) / 2) for tap in range(n)] for n in size]
        total = math.prod(map(sum, axes))
        return [math.prod(values) / total for values in product(*axes)]


class Sobel(Filter):
    """Sobel edge filter, 3x3: the slope along one axis, smoothed along the other. Bright to the right or below: > 0.

    Filter i sees the edges of channel i mod C. Source: Sobel and Feldman 1968.
    """

    shorthand: ClassVar[str | None] = "axis"
    sizes: ClassVar[tuple[Shape, ...]] = ((3, 3),)

    axis: Literal["x", "y"] = Field("x", description="x: vertical edges (left to right), y: horizontal ones")

    @override
    def taps(self, size: Shape) -> list[float]:
        difference, smooth = (-1.0, 0.0, 1.0), (1.0, 2.0, 1.0)
        down, right = (smooth, difference) if self.axis == "x" else (difference, smooth)
        return [a * b for a, b in product(down, right)]


class Laplacian(Filter):
    """Laplacian, 3x3 with four neighbours or 3 with two: the sum of second differences. Zero on even slopes.

    Filter i sees channel i mod C.
    """

    sizes: ClassVar[tuple[Shape, ...]] = ((3, 3), (3,))

    @override
    def taps(self, size: Shape) -> list[float]:
        return [0.0, 1.0, 0.0, 1.0, -4.0, 1.0, 0.0, 1.0, 0.0] if len(size) == 2 else [1.0, -2.0, 1.0]


class Identity(Filter):
    """Passes its input through: a one at the kernel's centre, or in a fully connected layer on the diagonal.

    Filter or unit i passes channel i mod C.
    """

    @override
    def check_shape(self, shape: Shape) -> None:
        if len(shape) != 2:  # (inputs, units) of a fully connected layer
            super().check_shape(shape)

    @override
    def taps(self, size: Shape) -> list[float]:
        centre = tuple((n - 1) // 2 for n in size)
        return [float(tap == centre) for tap in product(*map(range, size))]


def _numbers(value: Any) -> Any:
    """Nested lists of finite numbers, all of one length at each depth, as tuples."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if not isinstance(value, (list, tuple)) or not value:
        hint = "Write a list of numbers, or lists of them: [[1, 0, 1], [0, 1, 0], [1, 0, 1]]."
        raise PydanticCustomError("numbers", "expected numbers, got {got}", {"got": describe(value), "hint": hint})
    rows = tuple(_numbers(item) for item in value)
    if len({_shape(row) for row in rows}) > 1:
        raise PydanticCustomError("ragged", "rows of different lengths", {"hint": "Give every row as many numbers."})
    return rows


_nested = {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "array"}]}, "minItems": 1}
Numbers = Annotated[tuple[Any, ...], BeforeValidator(_numbers), WithJsonSchema(_nested)]


class Given(Filter):
    """Numbers written out: the taps of one filter (filter i sees channel i mod C through it), or the whole array."""

    shorthand: ClassVar[str | None] = "values"

    values: Numbers = Field(description="[[...], ...] as large as the kernel, or of the whole array's shape")

    @override
    def check_shape(self, shape: Shape) -> None:
        given = _shape(self.values)
        if given != shape and (len(shape) not in (3, 4) or given != shape[:-2]):
            sizes = f"{_times(shape[:-2])} or {_times(shape)}" if len(shape) in (3, 4) else _times(shape)
            raise ShapeError(f"the {_times(given)} given numbers do not fill {_times(shape)} weights", f"Give {sizes}.")

    @override
    def draw(self, key: Array, shape: Shape, fans: Fans) -> Array:
        return random.array(self.values) if _shape(self.values) == shape else super().draw(key, shape, fans)

    @override
    def taps(self, size: Shape) -> list[float]:
        return _flat(self.values)


def _shape(rows: Any) -> Shape:
    return (len(rows), *_shape(rows[0])) if isinstance(rows, tuple) else ()


def _flat(values: Any) -> list[float]:
    return [number for row in values for number in _flat(row)] if isinstance(values, tuple) else [float(values)]


def _times(shape: Shape) -> str:
    return times(shape) or "1"


INITIALIZERS = (
    Zeros, Ones, ConstantInitializer, Normal, TruncatedNormal, Uniform, HeNormal, HeUniform, GlorotNormal,
    GlorotUniform, LecunNormal, LecunUniform, Orthogonal, Identity, Gaussian, Sobel, Laplacian, Given,
)  # fmt: skip
Init = one_of(INITIALIZERS)
