"""Lengths of training as people say them: ``5 epochs``, ``500 steps``, ``10 %``; and of time: ``30 min``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import WithJsonSchema
from pydantic_core import PydanticCustomError

from cnncli.spec import check, describe

_DURATION = r"([0-9]+(?:\.[0-9]+)?)\s*(epochs?|steps?|%)"
_TIME = r"([0-9]+(?:\.[0-9]+)?)\s*(s|sec|seconds?|min|minutes?|h|hours?)"
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_DURATION, value):
        hint = f"Write {value} epochs, {value} steps or {value} %." if isinstance(value, (int, float)) else (
            "Write 5 epochs, 500 steps or 10 %.")  # fmt: skip
        raise PydanticCustomError("duration", "expected a length of training, got {got}",
                                  {"got": describe(value), "hint": hint})  # fmt: skip
    return value


def _time(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_TIME, value):
        raise PydanticCustomError("time", "expected a time, got {got}",
                                  {"got": describe(value), "hint": "Write 90 s, 30 min or 2 h."})  # fmt: skip
    return value


Duration = Annotated[str, check(_duration), WithJsonSchema({"type": "string", "pattern": f"^{_DURATION}$"})]
Time = Annotated[str, check(_time), WithJsonSchema({"type": "string", "pattern": f"^{_TIME}$"})]


def in_steps(duration: str, per_epoch: int, total: int) -> int:
    """A duration in steps, rounded; ``total`` is the whole training's steps, of which ``%`` is a share."""
    match = re.fullmatch(_DURATION, duration)
    assert match, duration
    number, unit = float(match[1]), match[2]
    scale = 1.0 if unit.startswith("step") else per_epoch if unit.startswith("epoch") else total / 100
    return round(number * scale)


def in_seconds(time: str) -> float:
    """A time in seconds."""
    match = re.fullmatch(_TIME, time)
    assert match, time
    return float(match[1]) * _SECONDS[match[2][0]]
