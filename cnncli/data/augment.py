"""Random changes to training images, on the device, inside the compiled step: pure functions of a key.

They see float32 images (B, H, W, C) in the values of the pictures, after pixel steps and before value steps.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from cnncli.data.augment_base import Augmentation, Mix
from cnncli.data.augment_colour import ColorJitter, Cutout, PcaNoise, RandomErasing
from cnncli.data.augment_geometry import (
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomScale,
    RandomShear,
    RandomShift,
)
from cnncli.data.augment_mix import Cutmix, Mixup
from cnncli.data.base import Shape
from cnncli.data.value_steps import CHUNK
from cnncli.spec import one_of, sequence

if TYPE_CHECKING:
    import numpy as np
    from jax import Array

AUGMENTATIONS: tuple[type[Augmentation], ...] = (
    RandomShift, RandomCrop, RandomFlip, RandomRotation, RandomScale, RandomShear, RandomResizedCrop,
    ColorJitter, PcaNoise, Cutout, RandomErasing, Mixup, Cutmix,
)  # fmt: skip


def _one_mix(steps: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
    mixes = [step.kind for step in steps if isinstance(step, Mix)]
    if len(mixes) > 1:
        raise PydanticCustomError("mixes", "only one of mixup and cutmix can mix the labels, got {mixes}",
                                  {"mixes": ", ".join(mixes)})  # fmt: skip
    return steps


if TYPE_CHECKING:
    Augmentations = tuple[Augmentation, ...]
else:
    Augmentations = Annotated[sequence(one_of(AUGMENTATIONS)), AfterValidator(_one_mix)]
Constants = dict[str, dict[str, Any]]


def augmented_shape(steps: Sequence[Augmentation], shape: Shape) -> Shape:
    """Shape of an image after all augmentations."""
    for step in steps:
        shape = step.out_shape(shape)
    return shape


def fit(steps: Sequence[Augmentation], images: "np.ndarray") -> Constants:
    """What augmentations need to know of the training images (pixel steps done)."""
    return {name: constants for name, step in named(steps) if (constants := step.fit(images))}


def augment(
    steps: Sequence[Augmentation], constants: Constants, key: "Array", x: "Array"
) -> "tuple[Array, Array | None, Array | None]":
    """All augmentations in order, each with its own key: images, and of mixed ones the partners' rows and shares.

    Image i is ``share[i]`` itself and ``1 - share[i]`` image ``partners[i]`` (both None where nothing mixes).
    """
    import jax

    partners = share = None
    for index, (name, step) in enumerate(named(steps)):
        own = jax.random.fold_in(key, index)
        if isinstance(step, Mix):
            x, partners, share = step.mix(own, x)
        else:
            x = step.apply(own, x, constants.get(name, {}))
    return x, partners, share


def rest(steps: Sequence[Augmentation], x: Any) -> Any:
    """What evaluation does in their place, to NumPy and JAX arrays."""
    for step in steps:
        x = step.rest(x)
    return x


def at_rest(steps: Sequence[Augmentation], images: "np.ndarray") -> "np.ndarray":
    """Training images as evaluation gets them: of the shape that value steps are fitted to."""
    import numpy as np

    if all(type(step).rest is Augmentation.rest for step in steps):
        return images
    return np.concatenate([rest(steps, images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)])


def named(steps: Sequence[Augmentation]) -> list[tuple[str, Augmentation]]:
    """Steps with the names their constants are stored under."""
    kinds = [step.kind for step in steps]
    return [(f"{step.kind}{kinds[: index + 1].count(step.kind)}", step) for index, step in enumerate(steps)]
