"""What is done to every image before the network, in training, evaluation and prediction alike.

Two kinds. Pixel steps (pad, resize, crop, grey, rgb) change the picture; they run once, on the host, and keep its type.
Value steps (scale, subtract_mean, standardize) change the numbers; they are fitted on the training split only and run
inside the compiled step, in float32. Pixel steps come first.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt
from pydantic_core import PydanticCustomError

from cnncli.data.base import Shape
from cnncli.errors import ShapeError
from cnncli.spec import Spec, one_of, pair, sequence

if TYPE_CHECKING:
    import numpy as np

CHUNK = 4096  # images that are in float32 at a time while fitting


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


class ValueStep(Step):
    """Changes the numbers. ``fit`` sees training images as they reach this step and gives constants (float32)."""

    def fit(self, images: "np.ndarray") -> "dict[str, np.ndarray]":
        """Constants from float32 training images (N, ...)."""
        return {}

    def values(self, constants: dict[str, Any], x: Any) -> Any:
        """``x`` (B, ...) float32 -> the same shape; NumPy and JAX arrays alike."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")


class Pad(PixelStep):
    """Add a border of ``by`` pixels (height, width) on every side, filled with ``value``.

    Example: `pad: 2`  (28, 28, 1) -> (32, 32, 1)
    """

    main: ClassVar[str | None] = "by"

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

    main: ClassVar[str | None] = "size"
    words: ClassVar[tuple[str, ...]] = ("center_crop", "centre_crop")

    size: pair(PositiveInt) = Field(description="a number or [height, width]")  # type: ignore[valid-type]

    def picture(self, shape: Shape) -> Shape:
        """``size``."""
        if self.size[0] > shape[0] or self.size[1] > shape[1]:
            raise ShapeError(f"cannot crop {shape[0]}x{shape[1]} to {self.size[0]}x{self.size[1]}", "Try pad or resize.")
        return (*self.size, shape[2])

    def pixels(self, images: "np.ndarray") -> "np.ndarray":
        """The middle."""
        top, left = ((have - want) // 2 for have, want in zip(images.shape[1:3], self.size, strict=True))
        return images[:, top : top + self.size[0], left : left + self.size[1]]


class Resize(PixelStep):
    """Scale to ``size`` (height, width), bilinear with anti-aliasing; the aspect is not kept.

    Example: `resize: [32, 48]`  (28, 28, 1) -> (32, 48, 1)
    """

    main: ClassVar[str | None] = "size"
    words: ClassVar[tuple[str, ...]] = ("rescale_image",)

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

    words: ClassVar[tuple[str, ...]] = ("gray", "grayscale", "greyscale", "to_gray")

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

    words: ClassVar[tuple[str, ...]] = ("color", "colour", "to_rgb")

    def picture(self, shape: Shape) -> Shape:
        """Three channels."""
        if shape[2] not in (1, 3):
            raise ShapeError(f"rgb needs 1 or 3 channels, got {shape[2]}")
        return (*shape[:2], 3)

    def pixels(self, images: "np.ndarray") -> "np.ndarray":
        """Repeated."""
        import numpy as np

        return images if images.shape[3] == 3 else np.repeat(images, 3, axis=3)


class Scale(ValueStep):
    """Divide by a fixed number: 255 turns bytes into 0 .. 1.

    Example: `scale: 255`  (28, 28, 1) -> (28, 28, 1)
    """

    main: ClassVar[str | None] = "by"
    words: ClassVar[tuple[str, ...]] = ("rescale", "to_float", "totensor", "to_tensor")

    by: float = Field(255.0, gt=0, description="the divisor")

    def values(self, constants: dict[str, Any], x: Any) -> Any:
        """X / by."""
        return x / self.by


class SubtractMean(ValueStep):
    """Subtract the training images' mean, per channel or per pixel (the mean image).

    Example: `subtract_mean: pixel`  (28, 28, 1) -> (28, 28, 1)
    """

    main: ClassVar[str | None] = "per"
    words: ClassVar[tuple[str, ...]] = ("mean", "center", "centre", "mean_subtraction", "mean_image")

    per: Literal["channel", "pixel"] = Field("channel", description="one mean per channel, or one per value")

    def fit(self, images: "np.ndarray") -> "dict[str, np.ndarray]":
        """Mean (C,) or (H, W, C)."""
        return {"mean": _moments(images, self.per)[0]}

    def values(self, constants: dict[str, Any], x: Any) -> Any:
        """X - mean."""
        return x - constants["mean"][None]


class Standardize(ValueStep):
    """Subtract the training images' mean and divide by their standard deviation, per channel or per pixel.

    A value that never varies is only centred.

    Example: `standardize`  (28, 28, 1) -> (28, 28, 1)
    """

    main: ClassVar[str | None] = "per"
    words: ClassVar[tuple[str, ...]] = ("normalize", "normalise", "standardise", "zscore", "normalization")

    per: Literal["channel", "pixel"] = Field("channel", description="one mean and deviation per channel, or per value")

    def fit(self, images: "np.ndarray") -> "dict[str, np.ndarray]":
        """mean and std, (C,) or (H, W, C)."""
        import numpy as np

        mean, variance = _moments(images, self.per)
        std = np.sqrt(variance)
        return {"mean": mean, "std": np.where(std > 0, std, np.float32(1))}

    def values(self, constants: dict[str, Any], x: Any) -> Any:
        """(x - mean) / std."""
        return (x - constants["mean"][None]) / constants["std"][None]


def _moments(images: "np.ndarray", per: str) -> "tuple[np.ndarray, np.ndarray]":
    """Mean and variance in float64 sums, given as float32; shaped to broadcast against one image."""
    import numpy as np

    axes = 0 if per == "pixel" else tuple(range(images.ndim - 1))
    mean = images.mean(axes, dtype=np.float64)
    total = np.zeros_like(mean)
    for start in range(0, len(images), CHUNK):
        total += np.square(images[start : start + CHUNK] - mean).sum(axes)
    count = len(images) if per == "pixel" else images.size // images.shape[-1]
    spread = (1,) * (images.ndim - 1 - mean.ndim) + mean.shape
    return mean.astype(np.float32).reshape(spread), (total / count).astype(np.float32).reshape(spread)


def _resize(plane: "np.ndarray", size: tuple[int, int]) -> "np.ndarray":
    import numpy as np
    from PIL import Image

    image = Image.fromarray(plane if plane.dtype == np.uint8 else plane.astype(np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


PIXEL_STEPS = (Pad, Crop, Resize, Grey, Rgb)
VALUE_STEPS = (Scale, SubtractMean, Standardize)
STEPS: tuple[type[Step], ...] = (*PIXEL_STEPS, *VALUE_STEPS)


def _pixels_first(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    kinds = [isinstance(step, PixelStep) for step in steps]
    if kinds != sorted(kinds, reverse=True):
        late = steps[next(index for index in range(1, len(kinds)) if kinds[index] and not kinds[index - 1])]
        raise PydanticCustomError("order", "{step} works on pixels and must come before steps that change values",
                                  {"step": late.kind, "hint": f"Move {late.kind} up."})  # fmt: skip
    return steps


Steps = Annotated[sequence(one_of(STEPS)), AfterValidator(_pixels_first)]


def shape_after(steps: tuple[Step, ...], shape: Shape) -> Shape:
    """Shape of an image after all steps."""
    for step in steps:
        shape = step.out_shape(shape)
    return shape


def apply_pixels(steps: tuple[Step, ...], images: "np.ndarray") -> "np.ndarray":
    """All pixel steps on (N, H, W, C)."""
    import numpy as np

    for step in steps:
        if isinstance(step, PixelStep):
            images = step.pixels(images)
    return np.ascontiguousarray(images)


Constants = dict[str, dict[str, Any]]


def fit(steps: tuple[Step, ...], images: "np.ndarray") -> Constants:
    """Constants of every value step, fitted in order on training ``images`` (pixel steps done)."""
    import numpy as np

    constants: Constants = {}
    todo = value_steps(steps)
    for name, step in todo:
        constants[name] = step.fit(images)
        if name != todo[-1][0]:  # the next step is fitted on what this one gives
            chunks = (images[start : start + CHUNK].astype(np.float32) for start in range(0, len(images), CHUNK))
            images = np.concatenate([step.values(constants[name], chunk) for chunk in chunks])
    return constants


def apply_values(steps: tuple[Step, ...], constants: Constants, x: Any) -> Any:
    """All value steps on float32 ``x`` (B, ...)."""
    for name, step in value_steps(steps):
        x = step.values(constants.get(name, {}), x)
    return x


def value_steps(steps: tuple[Step, ...]) -> list[tuple[str, ValueStep]]:
    """Value steps with the names their constants are stored under: kind and counter."""
    kinds = [step.kind for step in steps]
    return [
        (f"{step.kind}{kinds[: index + 1].count(step.kind)}", step)
        for index, step in enumerate(steps)
        if isinstance(step, ValueStep)
    ]
