"""Preprocessing that changes the picture: once, on the host, type kept."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from cnncli.data.base import Shape
from cnncli.errors import ShapeError
from cnncli.spec import Spec, pair

if TYPE_CHECKING:
    import numpy as np


class Step(Spec):
    """Base of both kinds."""

    family: ClassVar[str] = "preprocessing step"

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of an image afterwards; ShapeError where the step does not fit."""
        return shape


class PixelStep(Step):
    """Changes the picture, on the host."""

    def pixels(self, images: "np.ndarray") -> "np.ndarray":
        """(N, H, W, C) -> (N, H', W', C'), type kept."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")

    def out_shape(self, shape: Shape) -> Shape:
        """Needs a picture."""
        if len(shape) != 3:
            raise ShapeError(f"{self.kind} works on pictures of height x width x channels, got {shape}")
        return self.picture(shape)

    def picture(self, shape: Shape) -> Shape:
        """(H, W, C) -> (H', W', C')."""
        return shape


class Pad(PixelStep):
    """Add a border of ``by`` pixels (height, width) on every side, filled with ``value``.

    Example: `pad: 2`  (28, 28, 1) -> (32, 32, 1)
    """

    shorthand: ClassVar[str | None] = "by"

    by: pair(NonNegativeInt) = Field(description="pixels on each side: a number or [height, width]")  # type: ignore[valid-type]
    value: int = Field(0, ge=0, le=255, description="what the border holds")

    def picture(self, shape: Shape) -> Shape:
        """Twice ``by`` larger."""
        return (shape[0] + 2 * self.by[0], shape[1] + 2 * self.by[1], shape[2])

    def pixels(self, images: "np.ndarray") -> "np.ndarray":
        """Padded."""
        import numpy as np

        high, wide = self.by
        return np.pad(images, ((0, 0), (high, high), (wide, wide), (0, 0)), constant_values=self.value)


class Crop(PixelStep):
    """Keep the ``size`` (height, width) pixels in the middle.

    Example: `crop: 24`  (32, 32, 3) -> (24, 24, 3)
    """

    shorthand: ClassVar[str | None] = "size"
    aliases: ClassVar[tuple[str, ...]] = ("center_crop", "centre_crop")

    size: pair(PositiveInt) = Field(description="a number or [height, width]")  # type: ignore[valid-type]

    def picture(self, shape: Shape) -> Shape:
        """``size``."""
        if self.size[0] > shape[0] or self.size[1] > shape[1]:
            raise ShapeError(f"cannot crop {shape[0]}x{shape[1]} to {self.size[0]}x{self.size[1]}",
                             "Try pad or resize.")  # fmt: skip
        return (*self.size, shape[2])

    def pixels(self, images: "np.ndarray") -> "np.ndarray":
        """The middle."""
        top, left = ((have - want) // 2 for have, want in zip(images.shape[1:3], self.size, strict=True))
        return images[:, top : top + self.size[0], left : left + self.size[1]]


class Resize(PixelStep):
    """Scale to ``size`` (height, width), bilinear with anti-aliasing; the aspect is not kept.

    Example: `resize: [32, 48]`  (28, 28, 1) -> (32, 48, 1)
    """

    shorthand: ClassVar[str | None] = "size"
    aliases: ClassVar[tuple[str, ...]] = ("rescale_image",)

    size: pair(PositiveInt) = Field(description="a number or [height, width]")  # type: ignore[valid-type]

    def picture(self, shape: Shape) -> Shape:
        """``size``."""
        return (*self.size, shape[2])

    def pixels(self, images: "np.ndarray") -> "np.ndarray":
        """Image by image, channel by channel."""
        import numpy as np

        scaled = [[_resize(image[..., c], self.size) for c in range(image.shape[2])] for image in images]
        return np.moveaxis(np.asarray(scaled, images.dtype).reshape(-1, images.shape[3], *self.size), 1, 3)


class Grey(PixelStep):
    """Colour to one channel by luminance, 0.299 R + 0.587 G + 0.114 B (ITU-R 601).

    Example: `grey`  (32, 32, 3) -> (32, 32, 1)
    """

    aliases: ClassVar[tuple[str, ...]] = ("gray", "grayscale", "greyscale", "to_gray")

    def picture(self, shape: Shape) -> Shape:
        """One channel."""
        if shape[2] not in (1, 3):
            raise ShapeError(f"grey needs 1 or 3 channels, got {shape[2]}")
        return (*shape[:2], 1)

    def pixels(self, images: "np.ndarray") -> "np.ndarray":
        """Weighted sum, rounded where images are whole numbers."""
        import numpy as np

        if images.shape[3] == 1:
            return images
        grey = images.astype(np.float32) @ np.asarray([[0.299], [0.587], [0.114]], np.float32)
        return (np.rint(grey) if images.dtype == np.uint8 else grey).astype(images.dtype)


class Rgb(PixelStep):
    """Grey to three equal channels; colour stays as it is.

    Example: `rgb`  (28, 28, 1) -> (28, 28, 3)
    """

    aliases: ClassVar[tuple[str, ...]] = ("color", "colour", "to_rgb")

    def picture(self, shape: Shape) -> Shape:
        """Three channels."""
        if shape[2] not in (1, 3):
            raise ShapeError(f"rgb needs 1 or 3 channels, got {shape[2]}")
        return (*shape[:2], 3)

    def pixels(self, images: "np.ndarray") -> "np.ndarray":
        """Repeated."""
        import numpy as np

        return images if images.shape[3] == 3 else np.repeat(images, 3, axis=3)


def _resize(plane: "np.ndarray", size: tuple[int, int]) -> "np.ndarray":
    import numpy as np
    from PIL import Image

    image = Image.fromarray(plane if plane.dtype == np.uint8 else plane.astype(np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


PIXEL_STEPS = (Pad, Crop, Resize, Grey, Rgb)
