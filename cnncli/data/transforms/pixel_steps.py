"""Preprocessing that changes the picture: once, on the host, type kept."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt
from typing_extensions import override

from cnncli.data.transforms.transform import LUMINANCE, Transform, crop_middle, require_fits
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape
from cnncli.spec import pair

with lazy_imports():
    import numpy as np

    from cnncli.data import images


class Step(Transform):
    """Base class of pixel steps and value steps."""

    family: ClassVar[str] = "preprocessing step"


class PixelStep(Step):
    """Base class of steps that change the picture, on the host."""

    @override
    def out_shape(self, shape: Shape) -> Shape:
        self.require_picture(shape)
        return self.picture(shape)

    def picture(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H', W', C')."""
        return shape

    def pixels(self, x: np.ndarray) -> np.ndarray:
        """(N, H, W, C) -> (N, H', W', C'), type kept."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")


class Pad(PixelStep):
    """Add a border of ``by`` pixels (height, width) on every side, filled with ``value``.

    Example: `pad: 2`  (28, 28, 1) -> (32, 32, 1)
    """

    shorthand: ClassVar[str | None] = "by"

    by: pair(NonNegativeInt) = Field(description="pixels on each side: a number or [height, width]")  # type: ignore[valid-type]
    value: int = Field(0, ge=0, le=255, description="what the border holds")

    @override
    def picture(self, shape: Shape) -> Shape:
        return (shape[0] + 2 * self.by[0], shape[1] + 2 * self.by[1], shape[2])

    @override
    def pixels(self, x: np.ndarray) -> np.ndarray:
        high, wide = self.by
        return np.pad(x, ((0, 0), (high, high), (wide, wide), (0, 0)), constant_values=self.value)


class Crop(PixelStep):
    """Keep the ``size`` (height, width) pixels in the middle.

    Example: `crop: 24`  (32, 32, 3) -> (24, 24, 3)
    """

    shorthand: ClassVar[str | None] = "size"
    aliases: ClassVar[tuple[str, ...]] = ("center_crop", "centre_crop")

    size: pair(PositiveInt) = Field(description="a number or [height, width]")  # type: ignore[valid-type]

    @override
    def picture(self, shape: Shape) -> Shape:
        require_fits(self.size, shape, "Try pad or resize.")
        return (*self.size, shape[2])

    @override
    def pixels(self, x: np.ndarray) -> np.ndarray:
        return crop_middle(x, self.size)


class Resize(PixelStep):
    """Scale to ``size`` (height, width), bilinear with anti-aliasing; the aspect is not kept.

    Example: `resize: [32, 48]`  (28, 28, 1) -> (32, 48, 1)
    """

    shorthand: ClassVar[str | None] = "size"
    aliases: ClassVar[tuple[str, ...]] = ("rescale_image",)

    size: pair(PositiveInt) = Field(description="a number or [height, width]")  # type: ignore[valid-type]

    @override
    def picture(self, shape: Shape) -> Shape:
        return (*self.size, shape[2])

    @override
    def pixels(self, x: np.ndarray) -> np.ndarray:
        # Image by image, channel by channel.
        scaled = [[images.scaled(image[..., c], self.size) for c in range(image.shape[2])] for image in x]
        return np.moveaxis(np.asarray(scaled, x.dtype).reshape(-1, x.shape[3], *self.size), 1, 3)


class Grey(PixelStep):
    """Colour to one channel by luminance, 0.299 R + 0.587 G + 0.114 B (ITU-R 601).

    Example: `grey`  (32, 32, 3) -> (32, 32, 1)
    """

    aliases: ClassVar[tuple[str, ...]] = ("gray", "grayscale", "greyscale", "to_gray")

    @override
    def picture(self, shape: Shape) -> Shape:
        self.require_picture(shape, channels=(1, 3))
        return (*shape[:2], 1)

    @override
    def pixels(self, x: np.ndarray) -> np.ndarray:
        if x.shape[3] == 1:
            return x
        grey = x.astype(np.float32) @ np.asarray(LUMINANCE, np.float32)[:, None]
        return (np.rint(grey) if x.dtype == np.uint8 else grey).astype(x.dtype)


class Rgb(PixelStep):
    """Grey to three equal channels; colour stays as it is.

    Example: `rgb`  (28, 28, 1) -> (28, 28, 3)
    """

    aliases: ClassVar[tuple[str, ...]] = ("color", "colour", "to_rgb")

    @override
    def picture(self, shape: Shape) -> Shape:
        self.require_picture(shape, channels=(1, 3))
        return (*shape[:2], 3)

    @override
    def pixels(self, x: np.ndarray) -> np.ndarray:
        return x if x.shape[3] == 3 else np.repeat(x, 3, axis=3)


PIXEL_STEPS = (Pad, Crop, Resize, Grey, Rgb)
