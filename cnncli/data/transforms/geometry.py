"""Augmentations that move pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from typing_extensions import override

from cnncli.data.transforms.transform import (
    AnyArray,
    Arrays,
    Augmentation,
    Images,
    Key,
    PerImage,
    crop_middle,
    require_fits,
)  # fmt: skip
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape
from cnncli.spec import pair

with lazy_imports():
    import jax
    import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class RandomShift(Augmentation):
    """Move each image by up to ``by`` pixels (height, width) either way; what comes in is 0. Pad-and-crop by its name.

    Example: `random_shift: 4`
    """

    shorthand: ClassVar[str | None] = "by"
    aliases: ClassVar[tuple[str, ...]] = ("shift", "translate", "random_translation", "pad_and_crop")

    by: pair(NonNegativeInt) = Field(description="most pixels of the move: a number or [height, width]")  # type: ignore[valid-type]

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        high, wide = self.by
        return _random_window(key, jnp.pad(x, ((0, 0), (high, high), (wide, wide), (0, 0))), x.shape[1:3])


class RandomCrop(Augmentation):
    """Cut a ``size`` (height, width) window at a random place; evaluation takes the one in the middle.

    Example: `random_crop: 24`
    """

    shorthand: ClassVar[str | None] = "size"

    size: pair(PositiveInt) = Field(description="a number or [height, width]")  # type: ignore[valid-type]

    @override
    def out_shape(self, shape: Shape) -> Shape:
        super().out_shape(shape)
        require_fits(self.size, shape, "Try random_shift.")
        return (*self.size, shape[2])

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        return _random_window(key, x, self.size)

    @override
    def eval_transform(self, x: AnyArray) -> AnyArray:
        return crop_middle(x, self.size)


class RandomFlip(Augmentation):
    """Mirror each image with probability one half, left to right or upside down.

    Example: `random_flip`
    """

    shorthand: ClassVar[str | None] = "axis"
    aliases: ClassVar[tuple[str, ...]] = ("flip", "hflip", "horizontal_flip", "random_horizontal_flip", "mirror")

    axis: Literal["horizontal", "vertical", "both"] = Field("horizontal", description="both: each by itself")

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        axes = {"horizontal": (2,), "vertical": (1,), "both": (1, 2)}[self.axis]
        for axis, each in zip(axes, jax.random.split(key, len(axes)), strict=True):
            x = jnp.where(jax.random.bernoulli(each, 0.5, (x.shape[0], 1, 1, 1)), jnp.flip(x, axis), x)
        return x


class RandomRotation(Augmentation):
    """Turn each image about its middle by up to ``degrees`` either way, bilinear; what comes in is 0.

    Example: `random_rotation: 15`
    """

    shorthand: ClassVar[str | None] = "degrees"
    aliases: ClassVar[tuple[str, ...]] = ("rotate", "rotation")

    degrees: float = Field(gt=0, le=180, description="largest angle")

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        angle = jnp.deg2rad(_uniform(key, x, -self.degrees, self.degrees))
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return warp(x, cos, -sin, sin, cos)


class RandomScale(Augmentation):
    """Enlarge or shrink each image about its middle by a factor up to 1 + ``by``, bilinear; what comes in is 0.

    Example: `random_scale: 0.2`
    """

    shorthand: ClassVar[str | None] = "by"
    aliases: ClassVar[tuple[str, ...]] = ("zoom", "random_zoom", "scale_jitter")

    by: float = Field(gt=0, description="0.2: between 1/1.2 and 1.2 times the size, evenly in the logarithm")

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        factor = jnp.exp(_uniform(key, x, -math.log1p(self.by), math.log1p(self.by)))
        zero = jnp.zeros_like(factor)
        return warp(x, 1 / factor, zero, zero, 1 / factor)


class RandomShear(Augmentation):
    """Slant each image sideways by up to ``degrees`` either way, bilinear; what comes in is 0.

    Example: `random_shear: 10`
    """

    shorthand: ClassVar[str | None] = "degrees"
    aliases: ClassVar[tuple[str, ...]] = ("shear",)

    degrees: float = Field(gt=0, lt=90, description="largest angle")

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        slant = jnp.tan(jnp.deg2rad(_uniform(key, x, -self.degrees, self.degrees)))
        one, zero = jnp.ones_like(slant), jnp.zeros_like(slant)
        return warp(x, one, zero, slant, one)


class RandomResizedCrop(Augmentation):
    """Cut a window of random area and aspect, resized to ``size``; evaluation resizes the whole image.

    Both bilinear with anti-aliasing, as `resize` is. Source: Szegedy et al. 2014 (GoogLeNet).

    Example: `random_resized_crop: {size: 24, area: 0.5}`
    """

    shorthand: ClassVar[str | None] = "size"

    size: pair(PositiveInt) = Field(description="a number or [height, width]")  # type: ignore[valid-type]
    area: float = Field(0.08, gt=0, le=1, description="smallest share of the image's area")
    aspect: float = Field(4 / 3, ge=1, description="most that width / height is changed, either way")

    @override
    def out_shape(self, shape: Shape) -> Shape:
        return (*self.size, super().out_shape(shape)[2])

    @override
    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        keys, most = jax.random.split(key, 4), math.log(self.aspect)
        area, aspect = _uniform(keys[0], x, self.area, 1.0), jnp.exp(_uniform(keys[1], x, -most, most))
        shares = jnp.minimum(jnp.sqrt(jnp.stack([area / aspect, area * aspect], -1)), 1.0)  # (B, 2) of height, width
        starts = jnp.stack([_uniform(each, x, 0.0, 1.0) for each in keys[2:]], -1) * (1 - shares)
        return jax.vmap(lambda image, start, share: zoom(image, start, share, self.size))(x, starts, shares)

    @override
    def eval_transform(self, x: AnyArray) -> AnyArray:
        return jax.image.resize(x, (x.shape[0], *self.size, x.shape[3]), "bilinear")


def zoom(
    image: Float[Array, "H W C"], start: Float[Array, 2], share: Float[Array, 2], size: tuple[int, int]
) -> Float[Array, "out_H out_W C"]:
    """The window of ``image`` from ``start``, ``share`` long, both in shares of height and width, at ``size``."""
    have, want = (jnp.asarray(each, jnp.float32) for each in (image.shape[:2], size))
    scale = want / (share * have)  # output pixels per pixel
    shape = (*size, image.shape[2])
    return jax.image.scale_and_translate(image, shape, (0, 1), scale, -start * have * scale, "linear", antialias=True)


def warp(x: Images, down_down: PerImage, down_right: PerImage, right_down: PerImage, right_right: PerImage) -> Images:
    """Sample ``x`` (B, H, W, C) bilinearly at matrix * (output position from the middle); 0 outside.

    ``down_right``: how far down the source moves per output pixel to the right.
    """
    middle_row, middle_column = ((length - 1) / 2 for length in x.shape[1:3])
    down = (jnp.arange(x.shape[1], dtype=jnp.float32) - middle_row)[None, :, None]
    right = (jnp.arange(x.shape[2], dtype=jnp.float32) - middle_column)[None, None, :]
    a, b, c, d = (each[:, None, None] for each in (down_down, down_right, right_down, right_right))
    return jax.vmap(_bilinear)(x, a * down + b * right + middle_row, c * down + d * right + middle_column)


def _bilinear(
    image: Float[Array, "H W C"], rows: Float[Array, "H W"], columns: Float[Array, "H W"]
) -> Float[Array, "H W C"]:
    """``image`` at fractional ``rows`` and ``columns``; 0 outside."""
    top, left = jnp.floor(rows), jnp.floor(columns)
    total = jnp.zeros((*rows.shape, image.shape[2]), image.dtype)
    for r, wr in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for c, wc in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            inside = (r >= 0) & (r < image.shape[0]) & (c >= 0) & (c < image.shape[1])
            index = (jnp.clip(r, 0, image.shape[0] - 1).astype(jnp.int32),
                     jnp.clip(c, 0, image.shape[1] - 1).astype(jnp.int32))  # fmt: skip
            total = total + jnp.where(inside, wr * wc, 0.0)[..., None] * image[index]
    return total


def _uniform(key: Key, x: Images, low: float, high: float) -> PerImage:
    """A number per image."""
    return jax.random.uniform(key, (x.shape[0],), jnp.float32, low, high)


def _random_window(key: Key, x: Images, size: tuple[int, ...]) -> Images:
    """One (height, width) window of each image of ``x``, every place equally likely."""
    spare = [have - want for have, want in zip(x.shape[1:3], size, strict=True)]
    keys = jax.random.split(key)
    tops, lefts = (jax.random.randint(k, (x.shape[0],), 0, n + 1) for k, n in zip(keys, spare, strict=True))
    return jax.vmap(lambda image, top, left: jax.lax.dynamic_slice(image, (top, left, 0), (*size, image.shape[2])))(
        x, tops, lefts
    )
