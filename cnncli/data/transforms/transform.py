"""What preprocessing steps and augmentations have in common, and what an augmentation is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape
from cnncli.spec import Spec
from cnncli.text import times

with lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int
    from jaxtyping import PRNGKeyArray as Key

    AnyArray = TypeVar("AnyArray", np.ndarray, Array)
    Images = Float[Array, "B H W C"]
    AnyImages = Float[Array, "B ..."]
    PerImage = Float[Array, " B"]
    # Mixed images, the row of each one's partner, and each one's own share.
    Mixed = tuple[AnyImages, Int[Array, " B"], PerImage]
else:  # static work loads neither NumPy nor JAX
    Key = AnyArray = Images = AnyImages = PerImage = Mixed = Any

# What was fitted on the training images, NumPy or JAX arrays, by name; and that by the name of the transform.
Arrays = dict[str, Any]
Constants = dict[str, Arrays]

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R 601
T = TypeVar("T", bound="Transform")
CHUNK = 4096  # images that are in float32 at a time while constants are fitted


class Transform(Spec):
    """Base class of everything that changes images."""

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of an image afterwards; ShapeError where the transform does not take the image."""
        return shape

    def require_picture(self, shape: Shape, channels: Sequence[int] = (), hint: str = "") -> None:
        """ShapeError unless ``shape`` is (H, W, C) with one of these numbers of channels, if any are given."""
        if len(shape) != 3:
            raise ShapeError(f"{self.kind} works on pictures of height x width x channels, got {shape}")
        if channels and shape[2] not in channels:
            raise ShapeError(f"{self.kind} needs {' or '.join(map(str, channels))} channels, got {shape[2]}", hint)


class Augmentation(Transform):
    """Base class of augmentations."""

    family: ClassVar[str] = "augmentation"

    @override
    def out_shape(self, shape: Shape) -> Shape:
        self.require_picture(shape)
        return shape

    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """What it needs to know of the training images; nothing for most."""
        return {}

    def apply(self, key: Key, x: Images, constants: Arrays) -> Images:
        """Augmented images (B, H', W', C), float32."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")

    def eval_transform(self, x: AnyArray) -> AnyArray:
        """What evaluation does to images (B, H, W, C) instead. Needed where ``apply`` changes their shape."""
        return x


class Mix(Augmentation):
    """Base class of those that mix two images and their labels."""

    @override
    def out_shape(self, shape: Shape) -> Shape:
        return shape

    def mix(self, key: Key, x: AnyImages) -> Mixed:
        """Mixed images, the row of each one's partner, and each one's own share."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")


def white(images: np.ndarray) -> dict[str, np.ndarray]:
    """white (): the largest value a picture can have, 255 for bytes."""
    return {"white": np.asarray(255 if images.dtype == np.uint8 else images.max(), np.float32)}


def shape_after(transforms: Sequence[Transform], shape: Shape) -> Shape:
    """Shape of an image after all transforms."""
    for transform in transforms:
        shape = transform.out_shape(shape)
    return shape


def named(transforms: Sequence[T]) -> list[tuple[str, T]]:
    """Transforms with the names under which their constants are stored: kind and counter."""
    kinds = [transform.kind for transform in transforms]
    return [(f"{kind}{kinds[: index + 1].count(kind)}", transforms[index]) for index, kind in enumerate(kinds)]


def require_fits(size: tuple[int, int], shape: Shape, hint: str) -> None:
    """ShapeError where a window of ``size`` does not fit into an image of ``shape``."""
    if size[0] > shape[0] or size[1] > shape[1]:
        raise ShapeError(f"cannot crop {times(shape[:2])} to {times(size)}", hint)


def crop_middle(x: AnyArray, size: tuple[int, int]) -> AnyArray:
    """The ``size`` (height, width) pixels in the middle of images (N, H, W, C)."""
    top, left = (x.shape[1] - size[0]) // 2, (x.shape[2] - size[1]) // 2
    return x[:, top : top + size[0], left : left + size[1]]
