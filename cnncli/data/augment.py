"""Random changes to training images, on the device, inside the compiled step: pure functions of a key.

They see float32 images (B, H, W, C) in the values of the pictures, after pixel steps and before value steps.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt

from cnncli.data.base import Shape
from cnncli.errors import ShapeError
from cnncli.spec import Spec, one_of, pair, sequence

if TYPE_CHECKING:
    from jax import Array


class Augmentation(Spec):
    """Base. ``rest``: what evaluation does instead, where the shape must change all the same."""

    family: ClassVar[str] = "augmentation"

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of an image afterwards; ShapeError where it does not fit."""
        if len(shape) != 3:
            raise ShapeError(f"{self.kind} works on pictures of height x width x channels, got {shape}")
        return shape

    def apply(self, key: "Array", x: "Array") -> "Array":
        """``x`` (B, H, W, C) float32 -> (B, H', W', C)."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")

    def rest(self, x: "Array") -> "Array":
        """What an image gets in evaluation."""
        return x


class RandomShift(Augmentation):
    """Move each image by up to ``by`` pixels (height, width) either way; what comes in is 0. Pad-and-crop by its name.

    Example: `random_shift: 4`
    """

    main: ClassVar[str | None] = "by"
    words: ClassVar[tuple[str, ...]] = ("shift", "translate", "random_translation", "pad_and_crop")

    by: pair(PositiveInt) = Field(description="most pixels of the move: a number or [height, width]")  # type: ignore[valid-type]

    def apply(self, key: "Array", x: "Array") -> "Array":
        """A window of the zero-padded image."""
        import jax.numpy as jnp

        high, wide = self.by
        return _random_window(key, jnp.pad(x, ((0, 0), (high, high), (wide, wide), (0, 0))), x.shape[1:3])


class RandomCrop(Augmentation):
    """Cut a ``size`` (height, width) window at a random place; evaluation takes the one in the middle.

    Example: `random_crop: 24`
    """

    main: ClassVar[str | None] = "size"

    size: pair(PositiveInt) = Field(description="a number or [height, width]")  # type: ignore[valid-type]

    def out_shape(self, shape: Shape) -> Shape:
        """``size``."""
        super().out_shape(shape)
        if self.size[0] > shape[0] or self.size[1] > shape[1]:
            raise ShapeError(f"cannot crop {shape[0]}x{shape[1]} to {self.size[0]}x{self.size[1]}", "Try random_shift.")
        return (*self.size, shape[2])

    def apply(self, key: "Array", x: "Array") -> "Array":
        """A window anywhere."""
        return _random_window(key, x, self.size)

    def rest(self, x: "Array") -> "Array":
        """The window in the middle."""
        top, left = ((have - want) // 2 for have, want in zip(x.shape[1:3], self.size, strict=True))
        return x[:, top : top + self.size[0], left : left + self.size[1]]


class RandomFlip(Augmentation):
    """Mirror each image with probability one half, left to right or upside down.

    Example: `random_flip`
    """

    main: ClassVar[str | None] = "axis"
    words: ClassVar[tuple[str, ...]] = ("flip", "hflip", "horizontal_flip", "random_horizontal_flip", "mirror")

    axis: Literal["horizontal", "vertical", "both"] = Field("horizontal", description="both: each by itself")

    def apply(self, key: "Array", x: "Array") -> "Array":
        """Mirrored or not."""
        import jax
        import jax.numpy as jnp

        axes = {"horizontal": (2,), "vertical": (1,), "both": (1, 2)}[self.axis]
        for axis, each in zip(axes, jax.random.split(key, len(axes)), strict=True):
            x = jnp.where(jax.random.bernoulli(each, 0.5, (x.shape[0], 1, 1, 1)), jnp.flip(x, axis), x)
        return x


class Cutout(Augmentation):
    """Set a square of ``size`` pixels around a random point to 0; it may hang over the edge. DeVries and Taylor 2017.

    Example: `cutout: 8`
    """

    main: ClassVar[str | None] = "size"

    size: PositiveInt = Field(description="side of the square in pixels")

    def apply(self, key: "Array", x: "Array") -> "Array":
        """Zero within the square."""
        import jax
        import jax.numpy as jnp

        batch, height, width = x.shape[:3]
        centre = [jax.random.randint(k, (batch, 1), 0, n) for k, n in zip(jax.random.split(key), (height, width), strict=True)]
        low = self.size // 2
        rows, columns = (
            (jnp.arange(n)[None] >= c - low) & (jnp.arange(n)[None] < c - low + self.size)
            for c, n in zip(centre, (height, width), strict=True)
        )  # (B, H), (B, W)
        return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], jnp.zeros((), x.dtype), x)


def _random_window(key: "Array", x: "Array", size: tuple[int, ...]) -> "Array":
    """One (height, width) window of each image of ``x``, every place equally likely."""
    import jax
    from jax import lax

    spare = [have - want for have, want in zip(x.shape[1:3], size, strict=True)]
    keys = jax.random.split(key)
    tops, lefts = (jax.random.randint(k, (x.shape[0],), 0, n + 1) for k, n in zip(keys, spare, strict=True))
    return jax.vmap(lambda image, top, left: lax.dynamic_slice(image, (top, left, 0), (*size, image.shape[2])))(
        x, tops, lefts
    )


AUGMENTATIONS = (RandomShift, RandomCrop, RandomFlip, Cutout)
Augmentations = sequence(one_of(AUGMENTATIONS))


def augmented_shape(steps: tuple[Augmentation, ...], shape: Shape) -> Shape:
    """Shape of an image after all augmentations."""
    for step in steps:
        shape = step.out_shape(shape)
    return shape


def augment(steps: tuple[Augmentation, ...], key: "Array", x: "Array") -> "Array":
    """All augmentations in order, each with its own key."""
    import jax

    for index, step in enumerate(steps):
        x = step.apply(jax.random.fold_in(key, index), x)
    return x


def rest(steps: tuple[Augmentation, ...], x: "Array") -> "Array":
    """What evaluation does in their place."""
    for step in steps:
        x = step.rest(x)
    return x
