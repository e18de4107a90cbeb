"""How the learning rate changes over the steps of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cnncli.durations import Duration, LongDuration
from cnncli.lazy import lazy_imports
from cnncli.spec import Spec, one_of, sequence

with lazy_imports():
    from cnncli.ops import schedule

if TYPE_CHECKING:
    from cnncli.ops.schedule import Rate

    Durations = tuple[str, ...]
else:
    Durations = sequence(Duration)


class Schedule(Spec):
    """Base class of the schedules. During ``warmup`` the rate climbs in a line from 0 to where the schedule begins."""

    family: ClassVar[str] = "schedule"

    warmup: Duration = Field("0 steps", description="climb in a line from 0 for this long first")

    def build(self, lr: float, per_epoch: int, total: int) -> Rate:
        """The rate at each step, counted from 0; ``total`` steps in all, ``per_epoch`` an epoch.

        By the function of this schedule's name in `ops/schedule.py`, which gets the fields.
        """
        fields = {name: value for name, value in self if name != "warmup"}
        span = schedule.Span(per_epoch, total, self.warmup)
        return schedule.with_warmup(getattr(schedule, self.kind)(lr, span, **fields), span)


class ConstantSchedule(Schedule):
    """The same learning rate throughout.

    Example: `constant`
    """

    aliases: ClassVar[tuple[str, ...]] = ("none", "fixed")


class StepSchedule(Schedule):
    """Times ``factor`` at each of the times in ``at``, which count from the start of training.

    Example: `step: {at: [50 %, 75 %], factor: 0.1}`
    """

    shorthand: ClassVar[str | None] = "at"
    aliases: ClassVar[tuple[str, ...]] = ("multistep", "multi_step", "piecewise", "step_lr")

    at: Durations = Field(description="when the rate drops")
    factor: float = Field(0.1, gt=0, description="what it is multiplied by")


class ExponentialSchedule(Schedule):
    """Times ``factor`` over every ``every``, continuously.

    Example: `exponential: {factor: 0.9, every: 1 epoch}`
    """

    shorthand: ClassVar[str | None] = "factor"

    factor: float = Field(gt=0, description="what the rate is multiplied by")
    every: LongDuration = Field("1 epoch", description="how long that takes")


class LinearSchedule(Schedule):
    """In a line down to ``end`` times the learning rate.

    Example: `linear`
    """

    shorthand: ClassVar[str | None] = "end"

    end: float = Field(0.0, ge=0, le=1, description="the last rate as a share of the first")


class CosineSchedule(Schedule):
    """Half a cosine down to ``end`` times the learning rate. Loshchilov and Hutter 2017.

    Example: `cosine: {warmup: 5 %}`
    """

    shorthand: ClassVar[str | None] = "end"
    aliases: ClassVar[tuple[str, ...]] = ("cosine_annealing", "cosine_decay")

    end: float = Field(0.0, ge=0, le=1, description="the last rate as a share of the first")


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


SCHEDULES = (
    ConstantSchedule, StepSchedule, ExponentialSchedule, LinearSchedule, CosineSchedule, OneCycleSchedule,
)  # fmt: skip
AnySchedule = one_of(SCHEDULES)
