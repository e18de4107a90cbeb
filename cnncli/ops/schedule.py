"""Learning rates as functions of the step, each made by the function of its schedule's name, from Optax's where it can.

A schedule gets the learning rate, the training's span and its fields. Its steps count from the end of the warm-up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnncli.durations import in_steps

if TYPE_CHECKING:
    from jax import Array

    Step = Array | int
    Rate = Callable[[Step], Array | float]


class Span(NamedTuple):
    """A training of ``total`` steps, ``per_epoch`` an epoch; the rate climbs during the duration ``warmup``."""

    per_epoch: int
    total: int
    warmup: str

    @property
    def after_warmup(self) -> int:
        """Steps after the warm-up."""
        return max(self.total - self.steps(self.warmup), 1)

    def steps(self, duration: str) -> int:
        """A duration in steps."""
        return in_steps(duration, self.per_epoch, self.total)


def with_warmup(after: Rate, span: Span) -> Rate:
    """A linear climb from 0 to where ``after`` begins, then ``after``."""
    warmup = span.steps(span.warmup)

    def rate(step: Step) -> Array | float:
        with jax.numpy_dtype_promotion("standard"):  # Optax is not written for the strict rules
            if not warmup:
                return after(step)
            climb = optax.linear_schedule(0.0, after(0), warmup)
            return optax.join_schedules([climb, after], [warmup])(step)

    return rate


def constant(lr: float, span: Span) -> Rate:
    """The same throughout."""
    return optax.constant_schedule(lr)


def step(lr: float, span: Span, at: tuple[str, ...], factor: float) -> Rate:
    """lr * factor^(drops so far)."""
    steps = [span.steps(each) - span.steps(span.warmup) for each in at]
    return optax.piecewise_constant_schedule(lr, {step: factor ** steps.count(step) for step in steps})


def exponential(lr: float, span: Span, factor: float, every: str) -> Rate:
    """lr * factor^(step / every)."""
    return optax.exponential_decay(lr, max(span.steps(every), 1), factor)


def linear(lr: float, span: Span, end: float) -> Rate:
    """In a line from lr to end * lr."""
    return optax.linear_schedule(lr, lr * end, span.after_warmup)


def cosine(lr: float, span: Span, end: float) -> Rate:
    """lr * (end + (1 - end) * (1 + cos(pi * t)) / 2), t from 0 to 1."""
    return optax.cosine_decay_schedule(lr, span.after_warmup, end)


def one_cycle(lr: float, span: Span, peak: float, start: float, end: float) -> Rate:
    """Half a cosine from start * lr up to lr at ``peak`` of the steps, another down to end * lr at the last step.

    A training that is too short for the climb only falls.
    """
    top, last = max(peak * span.after_warmup - 1, 0.0), max(span.after_warmup - 1, 1)

    def half_cosine(before: float, after: float, progress: Array | float) -> Array:
        return lr * (after + (before - after) / 2 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1))))

    def rate(step: Step) -> Array:
        climb = half_cosine(start, 1.0, step / top if top > 0 else 1.0)
        return jnp.where(step < top, climb, half_cosine(1.0, end, (step - top) / (last - top)))

    return rate
