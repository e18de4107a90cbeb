"""Lengths of training as people write them, ``5 epochs``, ``500 steps``, ``10 %``; and times, ``30 min``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from cnncli.spec import describe

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_DURATION = rf"({_NUMBER})\s*(epochs?|steps?|%)"
_TIME = rf"({_NUMBER})\s*(s|sec|seconds?|min|minutes?|h|hours?)"
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_DURATION, value):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9
        hint = f"Write {value} epochs, {value} steps or {value} %." if number else "Write 5 epochs, 500 steps or 10 %."
        raise _error("duration", "a length of training", value, hint)
    return value


def _time(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_TIME, value):
        raise _error("time", "a time", value, "Write 90 s, 30 min or 2 h.")
    return value


def _positive(value: Any) -> Any:
    if isinstance(value, str) and (number := re.match(_NUMBER, value)) and float(number[0]) == 0:
        raise _error("nothing", "more than 0", value)
    return value


def _error(kind: str, expected: str, value: Any, hint: str = "") -> PydanticCustomError:
    context = {"expected": expected, "got": describe(value)} | ({"hint": hint} if hint else {})
    return PydanticCustomError(kind, "expected {expected}, got {got}", context)


Duration = Annotated[str, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": f"^{_DURATION}$"})]
Time = Annotated[str, BeforeValidator(_time), WithJsonSchema({"type": "string", "pattern": f"^{_TIME}$"})]
LongDuration = Annotated[Duration, BeforeValidator(_positive)]
LongTime = Annotated[Time, BeforeValidator(_positive)]


def in_steps(duration: str, per_epoch: int, total: int) -> int:
    """A duration in steps, rounded. ``per_epoch``: steps of an epoch; ``total``: steps of the training, for ``%``."""
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
