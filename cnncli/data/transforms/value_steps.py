"""Preprocessing that changes the numbers: fitted on training images only, applied inside the compiled step."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import override

from cnncli.data.transforms.pixel_steps import Step
from cnncli.data.transforms.transform import CHUNK, AnyArray, Arrays
from cnncli.errors import ShapeError
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape

with lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np

# Values of an image whose principal components can be found: 128x128x1, 73x73x3; 2 GiB of covariance.
LARGEST = 16_384


class ValueStep(Step):
    """Base class of steps that change the numbers."""

    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Float32 constants from training images (N, ...) as they reach this step."""
        return {}

    def values(self, constants: Arrays, x: AnyArray) -> AnyArray:
        """``x`` (B, ...) float32 -> the same shape; NumPy and JAX arrays alike."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")

    def invert(self, constants: Arrays, x: AnyArray) -> AnyArray:
        """Back from ``values``, for display."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")


class Scale(ValueStep):
    """Divide by a fixed number: 255 turns bytes into 0 .. 1.

    Example: `scale: 255`  (28, 28, 1) -> (28, 28, 1)
    """

    shorthand: ClassVar[str | None] = "by"
    aliases: ClassVar[tuple[str, ...]] = ("rescale", "to_float", "totensor", "to_tensor")

    by: float = Field(255.0, gt=0, description="the divisor")

    @override
    def values(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return x / self.by

    @override
    def invert(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return x * self.by


class SubtractMean(ValueStep):
    """Subtract the training images' mean, per channel or per pixel (the mean image).

    Example: `subtract_mean: pixel`  (28, 28, 1) -> (28, 28, 1)
    """

    shorthand: ClassVar[str | None] = "per"
    aliases: ClassVar[tuple[str, ...]] = ("mean", "center", "centre", "mean_subtraction", "mean_image")

    per: Literal["channel", "pixel"] = Field("channel", description="one mean per channel, or one per value")

    @override
    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Mean (C,) or (H, W, C)."""
        return {"mean": _moments(images, self.per)[0]}

    @override
    def values(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return x - constants["mean"][None]

    @override
    def invert(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return x + constants["mean"][None]


class Standardize(ValueStep):
    """Subtract the training images' mean and divide by their standard deviation, per channel or per pixel.

    A value that never varies is only centred.

    Example: `standardize`  (28, 28, 1) -> (28, 28, 1)
    """

    shorthand: ClassVar[str | None] = "per"
    aliases: ClassVar[tuple[str, ...]] = ("normalize", "normalise", "standardise", "zscore", "normalization")

    per: Literal["channel", "pixel"] = Field("channel", description="one mean and deviation per channel, or per value")

    @override
    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """mean and std, (C,) or (H, W, C)."""
        mean, variance = _moments(images, self.per)
        std = np.sqrt(variance)
        return {"mean": mean, "std": np.where(std > 0, std, np.float32(1))}

    @override
    def values(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return (x - constants["mean"][None]) / constants["std"][None]

    @override
    def invert(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return x * constants["std"][None] + constants["mean"][None]


class MinMax(ValueStep):
    """Scale linearly so that the training images' values run from ``low`` to ``high``.

    Example: `min_max: {low: -0.1, high: 1.175}`  (28, 28, 1) -> (28, 28, 1)
    """

    aliases: ClassVar[tuple[str, ...]] = ("minmax", "min_max_scale", "normalize_range")

    low: float = Field(0.0, description="what the smallest value becomes")
    high: float = Field(1.0, description="what the largest value becomes")
    per: Literal["all", "channel", "pixel"] = Field("all", description="one range for all, per channel or per value")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise PydanticCustomError("range", "low must be below high, got {low} and {high}",
                                      {"low": self.low, "high": self.high})  # fmt: skip
        return self

    @override
    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Smallest value and range, () or (C,) or (H, W, C)."""
        axes = {"all": None, "channel": tuple(range(images.ndim - 1)), "pixel": 0}[self.per]
        low, high = images.min(axes).astype(np.float32), images.max(axes).astype(np.float32)
        spread = (1,) * (images.ndim - 1 - low.ndim) + low.shape
        return {"min": low.reshape(spread), "range": np.where(high > low, high - low, np.float32(1)).reshape(spread)}

    @override
    def values(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return self.low + (x - constants["min"][None]) / constants["range"][None] * (self.high - self.low)

    @override
    def invert(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return (x - self.low) / (self.high - self.low) * constants["range"][None] + constants["min"][None]


class PrincipalComponents(ValueStep):
    """Base class of the steps that look for principal components."""

    @override
    def out_shape(self, shape: Shape) -> Shape:
        if (size := math.prod(shape)) > LARGEST:
            raise ShapeError(f"{self.kind} needs a {size:,} x {size:,} covariance, over {LARGEST:,} is too large",
                             "Put resize or crop before it, or use standardize.")  # fmt: skip
        return shape


class Decorrelate(PrincipalComponents):
    """Rotate the values onto the training images' principal components (PCA): uncorrelated, largest variance first.

    What comes out keeps the image's shape, but its values are components, no longer pixels.

    Example: `decorrelate`  (28, 28, 1) -> (28, 28, 1)
    """

    aliases: ClassVar[tuple[str, ...]] = ("pca", "principal_components")

    @override
    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """mean (D,) and basis (D, D), a component a column; D = H*W*C."""
        mean, _, basis = principal(images)
        return {"mean": mean, "basis": basis}

    @override
    def values(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return _times(x.reshape(len(x), -1) - constants["mean"][None], constants["basis"]).reshape(x.shape)

    @override
    def invert(self, constants: Arrays, x: AnyArray) -> AnyArray:
        return (_times(x.reshape(len(x), -1), constants["basis"].T) + constants["mean"][None]).reshape(x.shape)


class Whiten(PrincipalComponents):
    """Decorrelate and give every component variance 1: 1 / sqrt(variance + epsilon). ZCA turns back to pixels after it.

    Source: Bell and Sejnowski 1997 (ZCA); Krizhevsky 2009.

    Example: `whiten: {method: zca, epsilon: 0.1}`  (32, 32, 3) -> (32, 32, 3)
    """

    shorthand: ClassVar[str | None] = "method"
    aliases: ClassVar[tuple[str, ...]] = ("zca", "whitening", "zca_whitening", "pca_whitening", "sphere")

    method: Literal["zca", "pca"] = Field("zca", description="zca: pictures stay pictures; pca: components come out")
    epsilon: float = Field(1e-5, gt=0, description="added to each component's variance, in squared values of the input")

    @override
    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """mean (D,), basis (D, D), scale (D,); D = H*W*C."""
        mean, variance, basis = principal(images)
        return {"mean": mean, "basis": basis, "scale": (1 / np.sqrt(variance + self.epsilon)).astype(np.float32)}

    @override
    def values(self, constants: Arrays, x: AnyArray) -> AnyArray:
        y = _times(x.reshape(len(x), -1) - constants["mean"][None], constants["basis"]) * constants["scale"][None]
        return (_times(y, constants["basis"].T) if self.method == "zca" else y).reshape(x.shape)

    @override
    def invert(self, constants: Arrays, x: AnyArray) -> AnyArray:
        y = x.reshape(len(x), -1)
        y = (_times(y, constants["basis"]) if self.method == "zca" else y) / constants["scale"][None]
        return (_times(y, constants["basis"].T) + constants["mean"][None]).reshape(x.shape)


def _moments(images: np.ndarray, per: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance in float64 sums, given as float32; shaped to broadcast against one image."""
    axes = 0 if per == "pixel" else tuple(range(images.ndim - 1))
    mean = images.mean(axes, dtype=np.float64)
    total = np.zeros_like(mean)
    for start in range(0, len(images), CHUNK):
        total += np.square(images[start : start + CHUNK] - mean).sum(axes)
    count = len(images) if per == "pixel" else images.size // images.shape[-1]
    spread = (1,) * (images.ndim - 1 - mean.ndim) + mean.shape
    return mean.astype(np.float32).reshape(spread), (total / count).astype(np.float32).reshape(spread)


def principal(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (D,), variances (D,) largest first and components (D, D) as columns, float32.

    The covariance is summed in float64 over products of float32 chunks; each component's largest entry is positive.
    """
    flat = images.reshape(len(images), -1)
    mean = flat.mean(0, dtype=np.float64).astype(np.float32)
    covariance = np.zeros((flat.shape[1], flat.shape[1]))
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK].astype(np.float32) - mean
        covariance += chunk.T @ chunk
    variance, basis = np.linalg.eigh(covariance / len(flat))
    variance, basis = np.maximum(variance[::-1], 0), basis[:, ::-1]
    signs = np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
    return mean, variance.astype(np.float32), np.ascontiguousarray(basis * signs, np.float32)


def _times(x: AnyArray, matrix: np.ndarray | jax.Array) -> AnyArray:
    """``x`` (B, D) @ ``matrix`` (D, D'), in full float32 everywhere: GPUs and TPUs round to fewer bits unless told."""
    if isinstance(x, np.ndarray):
        return x @ matrix
    return jnp.matmul(x, matrix, precision="highest")


VALUE_STEPS = (Scale, SubtractMean, Standardize, MinMax, Decorrelate, Whiten)
