"""Augmentations that change colours or cover pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt
from typing_extensions import override

from cnncli.data.transforms.transform import LUMINANCE, Arrays, Augmentation, Images, Key, white
from cnncli.data.transforms.value_steps import principal
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape

with lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Real

    Span = tuple[Real[Array, " B"], Real[Array, " B"]]


class ColorJitter(Augmentation):
    """Change brightness, contrast and saturation of each image by random factors, in this order, cut to black .. white.

    A factor is even in 1 - x .. 1 + x. Contrast blends with the image's mean grey, saturation with each pixel's grey
    (colour only). White is 255, of float images their largest value. Source: Howard 2013; torchvision's definitions.

    Example: `color_jitter: {brightness: 0.2, contrast: 0.2, saturation: 0.2}`
    """

    aliases: ClassVar[tuple[str, ...]] = ("colour_jitter", "colorjitter", "brightness", "contrast", "saturation")

    brightness: float = Field(0.0, ge=0, le=1, description="largest change of brightness")
    contrast: float = Field(0.0, ge=0, le=1, description="largest change of contrast")
    saturation: float = Field(0.0, ge=0, le=1, description="largest change of saturation")

    @override
    def out_shape(self, shape: Shape) -> Shape:
        self.require_picture(shape, channels=(1, 3))
        return shape

    @override
    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return white(images)

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        for index, change in enumerate((self.brightness, self.contrast, self.saturation)):
            if not change:
                continue
            own, one_each = jax.random.fold_in(key, index), (x.shape[0], 1, 1, 1)
            factor = jax.random.uniform(own, one_each, x.dtype, 1 - change, 1 + change)
            grey = _grey(x)
            other = (jnp.zeros_like(grey), grey.mean((1, 2, 3), keepdims=True), grey)[index]
            x = jnp.clip(factor * x + (1 - factor) * other, 0, constants["white"])
        return x


class PcaNoise(Augmentation):
    """AlexNet's colour noise: add to every pixel of an image the colours' principal components times random amounts.

    The amount of component i is N(0, std^2) times the square root of its variance over the training pixels, which
    keeps what colours are likely. Source: Krizhevsky, Sutskever and Hinton 2012.

    Example: `pca_noise: 0.1`
    """

    shorthand: ClassVar[str | None] = "std"
    aliases: ClassVar[tuple[str, ...]] = ("pca_jitter", "fancy_pca", "lighting", "color_noise", "pca_color")

    std: float = Field(0.1, gt=0, description="standard deviation of the amounts")

    @override
    def out_shape(self, shape: Shape) -> Shape:
        self.require_picture(shape, channels=(3,), hint="Put rgb in data.preprocess.")
        return shape

    @override
    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """components (3, 3): principal components of the training pixels, a row each, times their deviations."""
        pixels = images.reshape(-1, 3)
        if len(pixels) > 10_000_000:  # evenly spread pixels tell three colours' covariance as well
            pixels = pixels[:: len(pixels) // 10_000_000 + 1]
        _, variance, basis = principal(pixels)
        return {"components": np.sqrt(variance)[:, None] * basis.T}

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        amounts = self.std * jax.random.normal(key, (x.shape[0], 3), x.dtype)
        return x + (amounts @ constants["components"])[:, None, None, :]


class Cutout(Augmentation):
    """Set a square of ``size`` pixels around a random point to 0; it may hang over the edge. DeVries and Taylor 2017.

    Example: `cutout: 8`
    """

    shorthand: ClassVar[str | None] = "size"

    size: PositiveInt = Field(description="side of the square in pixels")

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        keys = jax.random.split(key)
        middles = [jax.random.randint(k, (x.shape[0],), 0, n) for k, n in zip(keys, x.shape[1:3], strict=True)]
        starts = [middle - self.size // 2 for middle in middles]
        covered = box(x.shape, *((start, start + self.size) for start in starts))
        return jnp.where(covered, jnp.zeros((), x.dtype), x)


class RandomErasing(Augmentation):
    """With probability ``rate``, fill a rectangle of random area and aspect with even noise from black to white.

    White is 255, of float images their largest value. Source: Zhong et al. 2017.

    Example: `random_erasing: {rate: 0.5, area: 0.33}`
    """

    shorthand: ClassVar[str | None] = "rate"
    aliases: ClassVar[tuple[str, ...]] = ("erasing", "random_erase")

    rate: float = Field(0.5, gt=0, le=1, description="probability of erasing")
    area: float = Field(0.33, gt=0.02, le=1, description="largest share of the image's area; the smallest is 0.02")
    aspect: float = Field(3.3, ge=1, description="most that height / width is away from 1, either way")

    @override
    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return white(images)

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        batch, high, wide = x.shape[:3]
        keys, most = jax.random.split(key, 6), math.log(self.aspect)
        area = jax.random.uniform(keys[0], (batch,), x.dtype, 0.02, self.area) * (high * wide)
        aspect = jnp.exp(jax.random.uniform(keys[1], (batch,), x.dtype, -most, most))
        sides = (
            jnp.minimum(jnp.sqrt(area * aspect), high),
            jnp.minimum(jnp.sqrt(area / aspect), wide),
        )
        spans = []
        for own, length, side in zip(keys[2:4], (high, wide), sides, strict=True):
            start = jax.random.uniform(own, (batch,), x.dtype) * (length - side)
            spans.append((start, start + side))
        covered = box(x.shape, *spans) & jax.random.bernoulli(keys[4], self.rate, (batch, 1, 1, 1))
        return jnp.where(covered, jax.random.uniform(keys[5], x.shape, x.dtype) * constants["white"], x)


def box(shape: Shape, rows: Span, columns: Span) -> Bool[Array, "B H W 1"]:
    """Which pixels of images of ``shape`` (B, H, W, C) lie in each one's rectangle: first <= index < end."""
    inside = [
        (_line(n) >= start.astype(jnp.float32)[:, None]) & (_line(n) < stop.astype(jnp.float32)[:, None])
        for n, (start, stop) in zip(shape[1:3], (rows, columns), strict=True)
    ]
    return (inside[0][:, :, None] & inside[1][:, None, :])[..., None]


def _line(length: int) -> Float[Array, "1 length"]:
    return jnp.arange(length, dtype=jnp.float32)[None]


def _grey(x: Images) -> Float[Array, "B H W 1"]:
    return x if x.shape[-1] == 1 else x @ jnp.asarray(LUMINANCE, x.dtype)[:, None]
