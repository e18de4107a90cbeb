"""How the learning rate goes over the steps of training. Built from Optax's schedules."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from cnncli.durations import Duration, LongDuration, in_steps
from cnncli.spec import Spec, one_of, sequence

if TYPE_CHECKING:
    from jax import Array

Rate = Callable[[Any], "Array | float"]  # step -> learning rate


class Span(NamedTuple):
    """A training in steps: ``total`` in all, ``per_epoch`` an epoch, the first ``warmup`` of them climbing."""

    total: int
    per_epoch: int
    warmup: int

    @property
    def rest(self) -> int:
        """Steps after the warm-up."""
        return max(self.total - self.warmup, 1)

    def steps(self, duration: str) -> int:
        """A duration in steps."""
        return in_steps(duration, self.per_epoch, self.total)


class Schedule(Spec):
    """Base. ``warmup``: the rate first climbs in a line from 0 to where the schedule begins."""

    family: ClassVar[str] = "schedule"

    warmup: Duration = Field("0 steps", description="climb in a line from 0 for this long first")

    def build(self, lr: float, per_epoch: int, total: int) -> Rate:
        """The rate at each step, counted from 0; ``total`` steps in all, ``per_epoch`` an epoch."""
        import jax
        import optax

        warmup = in_steps(self.warmup, per_epoch, total)
        after = self.after_warmup(lr, Span(total, per_epoch, warmup))

        def rate(step: Any) -> "Array | float":
            with jax.numpy_dtype_promotion("standard"):  # Optax is not written for the strict rules
                if not warmup:
                    return after(step)
                climb = optax.linear_schedule(0.0, after(0), warmup)
                return optax.join_schedules([climb, after], [warmup])(step)

        return rate

    def after_warmup(self, lr: float, span: Span) -> Rate:
        """The rate, steps counted from the end of the warm-up."""
        raise TypeError(f"{self.kind} has no rate")


class ConstantSchedule(Schedule):
    """The same learning rate throughout.

    Example: `constant`
    """

    aliases: ClassVar[tuple[str, ...]] = ("none", "fixed")

    def after_warmup(self, lr: float, span: Span) -> Rate:
        """Lr."""
        import optax

        return optax.constant_schedule(lr)


class StepSchedule(Schedule):
    """Times ``factor`` at each of the times in ``at``, which count from the start of training.

    Example: `step: {at: [50 %, 75 %], factor: 0.1}`
    """

    shorthand: ClassVar[str | None] = "at"
    aliases: ClassVar[tuple[str, ...]] = ("multistep", "multi_step", "piecewise", "step_lr")

    at: sequence(Duration) = Field(description="when the rate drops")  # type: ignore[valid-type]
    factor: float = Field(0.1, gt=0, description="what it is multiplied by")

    def after_warmup(self, lr: float, span: Span) -> Rate:
        """Lr * factor^(drops so far)."""
        import optax

        steps = [span.steps(each) - span.warmup for each in self.at]
        drops = {step: self.factor ** steps.count(step) for step in steps}
        return optax.piecewise_constant_schedule(lr, drops)


class ExponentialSchedule(Schedule):
    """Times ``factor`` over every ``every``, continuously.

    Example: `exponential: {factor: 0.9, every: 1 epoch}`
    """

    shorthand: ClassVar[str | None] = "factor"

    factor: float = Field(gt=0, description="what the rate is multiplied by")
    every: LongDuration = Field("1 epoch", description="how long that takes")

    def after_warmup(self, lr: float, span: Span) -> Rate:
        """Lr * factor^(step / every)."""
        import optax

        return optax.exponential_decay(lr, max(span.steps(self.every), 1), self.factor)


class LinearSchedule(Schedule):
    """In a line down to ``end`` times the learning rate.

    Example: `linear`
    """

    shorthand: ClassVar[str | None] = "end"

    end: float = Field(0.0, ge=0, le=1, description="the last rate as a share of the first")

    def after_warmup(self, lr: float, span: Span) -> Rate:
        """From lr to end * lr."""
        import optax

        return optax.linear_schedule(lr, lr * self.end, span.rest)


class CosineSchedule(Schedule):
    """Half a cosine down to ``end`` times the learning rate. Loshchilov and Hutter 2017.

    Example: `cosine: {warmup: 5 %}`
    """

    shorthand: ClassVar[str | None] = "end"
    aliases: ClassVar[tuple[str, ...]] = ("cosine_annealing", "cosine_decay")

    end: float = Field(0.0, ge=0, le=1, description="the last rate as a share of the first")

    def after_warmup(self, lr: float, span: Span) -> Rate:
        """Lr * (end + (1 - end) * (1 + cos(pi * t)) / 2), t from 0 to 1."""
        import optax

        return optax.cosine_decay_schedule(lr, span.rest, self.end)


class OneCycleSchedule(Schedule):
    """Up to the learning rate and down again, in half a cosine each. Smith and Topin 2018.

    PyTorch's OneCycleLR step for step, with its defaults, but for the momentum, which stays as the optimizer has it
    (cycle_momentum=False).

    Example: `one_cycle: {peak: 0.3}`
    """

    shorthand: ClassVar[str | None] = "peak"
    aliases: ClassVar[tuple[str, ...]] = ("onecycle", "1cycle", "one_cycle_lr")

    peak: float = Field(0.3, gt=0, lt=1, description="where in training the top is")
    start: float = Field(0.04, gt=0, le=1, description="the first rate as a share of the top")
    end: float = Field(4e-6, gt=0, le=1, description="the last rate as a share of the top")

    def after_warmup(self, lr: float, span: Span) -> Rate:
        """Two half cosines: the top after ``peak`` of the steps, ``end`` at the last one. Too short, it only falls."""
        import jax.numpy as jnp

        top, last = max(self.peak * span.rest - 1, 0.0), max(span.rest - 1, 1)

        def half_cosine(before: float, after: float, way: Any) -> "Array":
            return lr * (after + (before - after) / 2 * (1 + jnp.cos(jnp.pi * jnp.clip(way, 0, 1))))

        def rate(step: Any) -> "Array":
            climb = half_cosine(self.start, 1.0, step / top if top > 0 else 1.0)
            return jnp.where(step < top, climb, half_cosine(1.0, self.end, (step - top) / (last - top)))

        return rate


SCHEDULES = (
    ConstantSchedule, StepSchedule, ExponentialSchedule, LinearSchedule, CosineSchedule, OneCycleSchedule,
)  # fmt: skip
AnySchedule = one_of(SCHEDULES)
