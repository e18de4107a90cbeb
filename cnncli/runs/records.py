"""The JSON records of a run (lines of metrics.jsonl and timing.jsonl, state.json): models as strict as the config's."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cnncli.config import messages
from cnncli.errors import CheckpointError, Place

T = TypeVar("T")
Count = Annotated[int, Field(ge=0, le=(1 << 31) - 1)]  # steps are int32 on the device
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Strict(BaseModel):
    """Base class: no conversions, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Figures(Strict):
    """Of an epoch. ``loss`` is None if it was not finite: validation does not stop training."""

    loss: float | None
    accuracy: float


class _Line(Strict):
    model_config = ConfigDict(extra="allow")

    step: Count
    epoch: Annotated[int, Field(ge=1, le=(1 << 31) - 1)]


class _Steps(_Line):
    kind: Literal["steps"]
    lr: float
    loss: float | None
    accuracy: float


class _Epoch(_Line):
    kind: Literal["epoch"]
    lr: float
    train: Figures
    val: Figures | None


class _Health(_Line):
    kind: Literal["health"]
    layers: dict[str, dict[str, float | None]]


class _Restore(_Line):
    kind: Literal["restore"]
    restore: Count
    lr_share: float
    reason: str


class _Timing(_Line):
    seconds: Annotated[Finite, Field(ge=0)]
    images_per_second: float
    compile_seconds: float


LINES: dict[str, TypeAdapter[Any]] = {  # by the file's name
    "metrics.jsonl": TypeAdapter(Annotated[_Steps | _Epoch | _Health | _Restore, Field(discriminator="kind")]),
    "timing.jsonl": TypeAdapter(_Timing),
}


def validated(adapter: TypeAdapter[T], content: bytes, place: Place) -> T:
    """The model in ``content`` (JSON). CheckpointError names the field that does not fit."""
    try:
        return adapter.validate_json(content)
    except ValidationError as found:
        error = found.errors(include_url=False)[0]
    kind, path = error["type"], ".".join(map(str, error["loc"]))
    said = {"missing": "is missing", "extra_forbidden": "is unknown", "json_invalid": "is not JSON"}.get(kind)
    raise CheckpointError.of(said or messages.message(error), place=place, path=path)
