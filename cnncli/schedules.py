"""How the learning rate changes over the steps of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field
from typing_extensions import override

from cnncli.durations import Duration, LongDuration, in_steps
from cnncli.lazy import lazy_imports
from cnncli.spec import Spec, one_of, sequence

with lazy_imports():
    from cnncli.ops import schedule

if TYPE_CHECKING:
    from cnncli.ops.schedule import Rate

    Durations = tuple[str, ...]
else:
    Durations = sequence(Duration)


class Span(NamedTuple):
    """A training in steps: ``total`` in all, ``per_epoch`` an epoch, the first ``warmup`` of them climbing."""

    total: int
    per_epoch: int
    warmup: int

    @property
    def after_warmup(self) -> int:
        """Steps after the warm-up."""
        return max(self.total - self.warmup, 1)

    def steps(self, duration: str) -> int:
        """A duration in steps."""
        return in_steps(duration, self.per_epoch, self.total)


class Schedule(Spec):
    """Base class of the schedules. During ``warmup`` the rate climbs in a line from 0 to where the schedule begins."""

    family: ClassVar[str] = "schedule"

    warmup: Duration = Field("0 steps", description="climb in a line from 0 for this long first")

    def build(self, lr: float, per_epoch: int, total: int) -> Rate:
        """The rate at each step, counted from 0; ``total`` steps in all, ``per_epoch`` an epoch."""
        warmup = in_steps(self.warmup, per_epoch, total)
        return schedule.with_warmup(self.after_warmup(lr, Span(total, per_epoch, warmup)), warmup)

    def after_warmup(self, lr: float, span: Span) -> Rate:
        """The rate, with steps counted from the end of the warm-up."""
        raise TypeError(f"{self.kind} has no rate")


class ConstantSchedule(Schedule):
    """The same learning rate throughout.

    Example: `constant`
    """

    aliases: ClassVar[tuple[str, ...]] = ("none", "fixed")

    @override
    def after_warmup(self, lr: float, span: Span) -> Rate:
        return schedule.constant_schedule(lr)


class StepSchedule(Schedule):
    """Times ``factor`` at each of the times in ``at``, which count from the start of training.

    Example: `step: {at: [50 %, 75 %], factor: 0.1}`
    """

    shorthand: ClassVar[str | None] = "at"
    aliases: ClassVar[tuple[str, ...]] = ("multistep", "multi_step", "piecewise", "step_lr")

    at: Durations = Field(description="when the rate drops")
    factor: float = Field(0.1, gt=0, description="what it is multiplied by")

    @override
    def after_warmup(self, lr: float, span: Span) -> Rate:
        steps = [span.steps(each) - span.warmup for each in self.at]
        drops = {step: self.factor ** steps.count(step) for step in steps}
        return schedule.piecewise_constant_schedule(lr, drops)


class ExponentialSchedule(Schedule):
    """Times ``factor`` over every ``every``, continuously.

    Example: `exponential: {factor: 0.9, every: 1 epoch}`
    """

    shorthand: ClassVar[str | None] = "factor"

    factor: float = Field(gt=0, description="what the rate is multiplied by")
    every: LongDuration = Field("1 epoch", description="how long that takes")

    @override
    def after_warmup(self, lr: float, span: Span) -> Rate:
        return schedule.exponential_decay(lr, max(span.steps(self.every), 1), self.factor)


class LinearSchedule(Schedule):
    """In a line down to ``end`` times the learning rate.

    Example: `linear`
    """

    shorthand: ClassVar[str | None] = "end"

    end: float = Field(0.0, ge=0, le=1, description="the last rate as a share of the first")

    @override
    def after_warmup(self, lr: float, span: Span) -> Rate:
        return schedule.linear_schedule(lr, lr * self.end, span.after_warmup)


class CosineSchedule(Schedule):
    """Half a cosine down to ``end`` times the learning rate. Loshchilov and Hutter 2017.

    Example: `cosine: {warmup: 5 %}`
    """

    shorthand: ClassVar[str | None] = "end"
    aliases: ClassVar[tuple[str, ...]] = ("cosine_annealing", "cosine_decay")

    end: float = Field(0.0, ge=0, le=1, description="the last rate as a share of the first")

    @override
    def after_warmup(self, lr: float, span: Span) -> Rate:
        return schedule.cosine_decay_schedule(lr, span.after_warmup, self.end)


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

    @override
    def after_warmup(self, lr: float, span: Span) -> Rate:
        return schedule.one_cycle(lr, span.after_warmup, self.peak, self.start, self.end)


SCHEDULES = (
    ConstantSchedule, StepSchedule, ExponentialSchedule, LinearSchedule, CosineSchedule, OneCycleSchedule,
)  # fmt: skip
AnySchedule = one_of(SCHEDULES)
