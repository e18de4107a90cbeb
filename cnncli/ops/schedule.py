"""Learning rates as functions of the step, from Optax where it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax
from optax import (
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    linear_schedule,
    piecewise_constant_schedule,
)

if TYPE_CHECKING:
    from jax import Array

    Step = Array | int
    Rate = Callable[[Step], Array | float]

__all__ = [
    "constant_schedule", "cosine_decay_schedule", "exponential_decay", "linear_schedule", "one_cycle",
    "piecewise_constant_schedule", "with_warmup",
]  # fmt: skip


def with_warmup(after: Rate, warmup: int) -> Rate:
    """``after``, whose steps are counted from the end of a linear climb from 0 over ``warmup`` steps."""

    def rate(step: Step) -> Array | float:
        with jax.numpy_dtype_promotion("standard"):  # Optax is not written for the strict rules
            if not warmup:
                return after(step)
            climb = optax.linear_schedule(0.0, after(0), warmup)
            return optax.join_schedules([climb, after], [warmup])(step)

    return rate


def one_cycle(lr: float, steps: int, peak: float, start: float, end: float) -> Rate:
    """Half a cosine up from ``start * lr`` to ``lr`` after ``peak`` of the steps, another down to ``end * lr``.

    A training that is too short for the climb only falls.
    """
    top, last = max(peak * steps - 1, 0.0), max(steps - 1, 1)

    def half_cosine(before: float, after: float, progress: Array | float) -> Array:
        return lr * (after + (before - after) / 2 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1))))

    def rate(step: Step) -> Array:
        climb = half_cosine(start, 1.0, step / top if top > 0 else 1.0)
        return jnp.where(step < top, climb, half_cosine(1.0, end, (step - top) / (last - top)))

    return rate
