"""Weights that start at given numbers: constants and the filters of image processing.

A filter of taps is set into a kernel (*taps, C, filters) so that filter i sees channel ``i mod C`` through it and no
other: each channel of a picture by itself, or one channel in every filter.
"""

import math
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, WithJsonSchema
from pydantic_core import PydanticCustomError

from cnncli.errors import ShapeError
from cnncli.spec import Spec, check, describe

if TYPE_CHECKING:
    from jax import Array

Fans = tuple[int, int]
Shape = tuple[int, ...]


class Initializer(Spec):
    """Base: ``draw(key, shape, fans)`` gives a float32 array."""

    family: ClassVar[str] = "initializer"

    def fits(self, shape: Shape) -> None:
        """ShapeError if an array of ``shape`` cannot start like this."""

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """A float32 array of ``shape``."""
        raise TypeError(f"{self.kind} draws nothing")


class Constant(Initializer):
    """Every weight the same number."""

    main: ClassVar[str | None] = "value"
    value: float = Field(description="the number")

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """``value`` everywhere."""
        import jax.numpy as jnp

        return jnp.full(shape, self.value, jnp.float32)


class Zeros(Initializer):
    """All zero: biases."""

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """Zeros."""
        import jax.numpy as jnp

        return jnp.zeros(shape, jnp.float32)


class Ones(Initializer):
    """All one: norm scales."""

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """Ones."""
        import jax.numpy as jnp

        return jnp.ones(shape, jnp.float32)


class Filter(Initializer):
    """Base of the filters of image processing: ``taps(size)`` gives their numbers, row by row."""

    def fits(self, shape: Shape) -> None:
        """Kernels of convolutions only."""
        if len(shape) not in (3, 4):
            raise ShapeError(f"{self.kind} is for the kernel of a convolution, not for {_times(shape)} weights",
                             "Try init: he_normal.")  # fmt: skip

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """The filter in every channel."""
        return _in_each_channel(self.taps(shape[:-2]), shape)

    def taps(self, size: Shape) -> list[float]:
        """The numbers of a filter of ``size`` in reading order."""
        raise TypeError(f"{self.kind} has no taps")


class Gaussian(Filter):
    """Gaussian blur: exp(-r^2 / 2 sigma^2) around the kernel's centre, sum 1. Filter i smooths channel i mod C."""

    main: ClassVar[str | None] = "sigma"

    sigma: PositiveFloat = Field(1.0, description="standard deviation in pixels")

    def taps(self, size: Shape) -> list[float]:
        """Products of one bell curve per axis."""
        axes = [[math.exp(-(((tap - (n - 1) / 2) / self.sigma) ** 2) / 2) for tap in range(n)] for n in size]
        total = math.prod(map(sum, axes))
        return [math.prod(values) / total for values in product(*axes)]


class Sobel(Filter):
    """Sobel edge filter, 3x3: the slope along one axis, smoothed along the other. Bright to the right or below: > 0.

    Filter i sees the edges of channel i mod C. Source: Sobel and Feldman 1968.
    """

    main: ClassVar[str | None] = "axis"

    axis: Literal["x", "y"] = Field("x", description="x: vertical edges (left to right), y: horizontal ones")

    def fits(self, shape: Shape) -> None:
        """3x3 kernels only."""
        super().fits(shape)
        _need_size(self.kind, shape[:-2], ((3, 3),))

    def taps(self, size: Shape) -> list[float]:
        """(-1, 0, 1) times (1, 2, 1)."""
        slope, smooth = (-1.0, 0.0, 1.0), (1.0, 2.0, 1.0)
        down, right = (smooth, slope) if self.axis == "x" else (slope, smooth)
        return [a * b for a, b in product(down, right)]


class Laplacian(Filter):
    """Laplacian, 3x3 with four neighbours or 3 with two: the sum of second differences. Zero on even slopes.

    Filter i sees channel i mod C.
    """

    def fits(self, shape: Shape) -> None:
        """3x3 and 3 only."""
        super().fits(shape)
        _need_size(self.kind, shape[:-2], ((3, 3), (3,)))

    def taps(self, size: Shape) -> list[float]:
        """-4 (or -2) at the centre, 1 beside it."""
        return [0.0, 1.0, 0.0, 1.0, -4.0, 1.0, 0.0, 1.0, 0.0] if len(size) == 2 else [1.0, -2.0, 1.0]


class Identity(Filter):
    """Passes its input through: a one at the kernel's centre, or in a fully connected layer on the diagonal.

    Filter or unit i passes channel i mod C.
    """

    def fits(self, shape: Shape) -> None:
        """Kernels of convolutions and of fully connected layers."""
        if len(shape) != 2:
            super().fits(shape)

    def taps(self, size: Shape) -> list[float]:
        """A one among zeros."""
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


def _shape(rows: Any) -> Shape:
    return (len(rows), *_shape(rows[0])) if isinstance(rows, tuple) else ()


_nested = {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "array"}]}, "minItems": 1}
Numbers = Annotated[tuple[Any, ...], check(_numbers), WithJsonSchema(_nested)]


class Given(Filter):
    """Numbers written out: the taps of one filter (filter i sees channel i mod C through it), or the whole array."""

    main: ClassVar[str | None] = "values"

    values: Numbers = Field(description="[[...], ...] as large as the kernel, or of the whole array's shape")

    def fits(self, shape: Shape) -> None:
        """The whole array, or a filter of the kernel's size."""
        given = _shape(self.values)
        if given != shape and (len(shape) not in (3, 4) or given != shape[:-2]):
            sizes = f"{_times(shape[:-2])} or {_times(shape)}" if len(shape) in (3, 4) else _times(shape)
            raise ShapeError(f"the {_times(given)} given numbers do not fill {_times(shape)} weights", f"Give {sizes}.")

    def draw(self, key: "Array", shape: Shape, fans: Fans) -> "Array":
        """The numbers."""
        import jax.numpy as jnp

        if _shape(self.values) == shape:
            return jnp.asarray(self.values, jnp.float32)
        return super().draw(key, shape, fans)

    def taps(self, size: Shape) -> list[float]:
        """The numbers in reading order."""
        return _flat(self.values)


def _flat(values: Any) -> list[float]:
    return [number for row in values for number in _flat(row)] if isinstance(values, tuple) else [float(values)]


def _in_each_channel(taps: list[float], shape: Shape) -> "Array":
    """(*taps, C, filters): ``taps`` where filter i meets channel i mod C, zeros elsewhere."""
    import jax.numpy as jnp

    *size, channels, filters = shape
    meet = (jnp.arange(filters) % channels)[None, :] == jnp.arange(channels)[:, None]  # (C, filters)
    pattern = jnp.asarray(taps, jnp.float32).reshape(*size, 1, 1)
    return pattern * meet.astype(jnp.float32).reshape((1,) * len(size) + meet.shape)


def _need_size(kind: str, size: Shape, sizes: tuple[Shape, ...]) -> None:
    if size not in sizes:
        words = " or ".join(map(_times, sizes))
        raise ShapeError(f"{kind} is a {words} filter, the kernel is {_times(size)}", "Try kernel: 3.")


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "1"
