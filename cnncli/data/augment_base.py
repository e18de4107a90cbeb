"""What an augmentation is."""

from typing import TYPE_CHECKING, Any, ClassVar

from cnncli.data.base import Shape
from cnncli.errors import ShapeError
from cnncli.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from jax import Array


class Augmentation(Spec):
    """Base. ``rest``: what evaluation does instead, where the shape must change all the same."""

    family: ClassVar[str] = "augmentation"

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of an image afterwards; ShapeError where it does not fit."""
        if len(shape) != 3:
            raise ShapeError(f"{self.kind} works on pictures of height x width x channels, got {shape}")
        return shape

    def fit(self, images: "np.ndarray") -> dict[str, Any]:
        """What it needs to know of the training images; nothing for most."""
        return {}

    def apply(self, key: "Array", x: "Array", constants: dict[str, Any]) -> "Array":
        """``x`` (B, H, W, C) float32 -> (B, H', W', C)."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")

    def rest(self, x: "Array") -> "Array":
        """What an image gets in evaluation."""
        return x


class Mix(Augmentation):
    """Base of those that mix two images and their labels."""

    def out_shape(self, shape: Shape) -> Shape:
        """Any shape."""
        return shape

    def mix(self, key: "Array", x: "Array") -> "tuple[Array, Array, Array]":
        """``x`` (B, ...) -> mixed images, each one's partner (B,) int32 and its own share (B,) float32."""
        raise TypeError(f"{self.kind} has no arithmetic of its own")


def white(images: "np.ndarray") -> dict[str, Any]:
    """white (): the largest value a picture can have, 255 for bytes."""
    import numpy as np

    return {"white": np.float32(255 if images.dtype == np.uint8 else images.max())}


def need_colour(kind: str, shape: Shape) -> None:
    """Refuse grey pictures."""
    if shape[-1] != 3:
        raise ShapeError(f"{kind} needs 3 channels, got {shape[-1]}", "Put rgb in data.preprocess.")
