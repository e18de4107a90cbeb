"""What is done to every image before the network, in training, evaluation and prediction alike.

Two kinds. Pixel steps (pad, resize, crop, grey, rgb) change the picture; they run once, on the host, and keep its type.
Value steps (scale, subtract_mean, standardize, min_max, decorrelate, whiten) change the numbers; they are fitted on the
training split only and run inside the compiled step, in float32. Pixel steps come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from cnncli.data.transforms.pixel_steps import PIXEL_STEPS, PixelStep, Step
from cnncli.data.transforms.transform import CHUNK, AnyArray, Constants, named
from cnncli.data.transforms.value_steps import VALUE_STEPS, ValueStep
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape
from cnncli.spec import one_of, sequence

with lazy_imports():
    import jax
    import numpy as np

STEPS: tuple[type[Step], ...] = (*PIXEL_STEPS, *VALUE_STEPS)


def _pixels_first(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    kinds = [isinstance(step, PixelStep) for step in steps]
    if kinds != sorted(kinds, reverse=True):
        late = steps[next(index for index in range(1, len(kinds)) if kinds[index] and not kinds[index - 1])]
        raise PydanticCustomError("order", "{step} works on pixels and must come before steps that change values",
                                  {"step": late.kind, "hint": f"Move {late.kind} up."})  # fmt: skip
    return steps


if TYPE_CHECKING:
    Steps = tuple[Step, ...]
else:
    Steps = Annotated[sequence(one_of(STEPS)), AfterValidator(_pixels_first)]


def value_steps(steps: Sequence[Step]) -> list[tuple[str, ValueStep]]:
    """Value steps with the names under which their constants are stored."""
    return [(name, step) for name, step in named(steps) if isinstance(step, ValueStep)]


def apply_pixels(steps: Sequence[Step], images: np.ndarray) -> np.ndarray:
    """All pixel steps on images (N, H, W, C)."""
    for step in steps:
        if isinstance(step, PixelStep):
            images = step.pixels(images)
    return np.ascontiguousarray(images)


def fit(steps: Sequence[Step], images: np.ndarray) -> Constants:
    """Constants of every value step, fitted in order on training ``images`` (pixel steps done)."""
    constants: Constants = {}
    todo = value_steps(steps)
    for name, step in todo:
        constants[name] = fitted = step.fit(images)
        if name != todo[-1][0]:  # the next step is fitted on what this one gives
            chunks = (images[start : start + CHUNK].astype(np.float32) for start in range(0, len(images), CHUNK))
            images = np.concatenate([step.values(fitted, chunk) for chunk in chunks])
    return constants


def apply_values(steps: Sequence[Step], constants: Constants, x: AnyArray) -> AnyArray:
    """All value steps on float32 ``x`` (B, ...)."""
    for name, step in value_steps(steps):
        x = step.values(constants.get(name, {}), x)
    return x


def invert_values(steps: Sequence[Step], constants: Constants, x: AnyArray) -> AnyArray:
    """Back from what the network sees to values of pictures."""
    for name, step in reversed(value_steps(steps)):
        x = step.invert(constants.get(name, {}), x)
    return x


def constants_fit(steps: Sequence[Step], constants: Constants, shape: Shape) -> bool:
    """Whether constants that came from a file are those that images of ``shape`` need. Nothing is computed."""
    x = jax.ShapeDtypeStruct((1, *shape), np.float32)
    try:
        return bool(jax.eval_shape(lambda c, x: apply_values(steps, c, x), constants, x).shape == x.shape)
    except (KeyError, TypeError, ValueError):
        return False
