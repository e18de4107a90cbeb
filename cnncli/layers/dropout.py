"""Dropout: noise in training, nothing at test."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from cnncli.layers.base import Array, Call, Layer
from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.ops import random


class Dropout(Layer):
    """Inverted dropout: in training each value is zeroed with probability ``rate``, the rest grow by 1 / (1 - rate).

    Any input -> the same shape; the expectation is unchanged; at test it does nothing.
    Source: Srivastava et al. 2014; per channel: Tompson et al. 2015; per example: Huang et al. 2016.

    Example: `dropout: 0.5`  (84,) -> (84,), 0 parameters
    """

    shorthand: ClassVar[str | None] = "rate"
    aliases: ClassVar[tuple[str, ...]] = ("drop", "dropout2d", "spatial_dropout", "drop_path", "stochastic_depth")

    rate: float = Field(0.5, ge=0, lt=1, description="probability of zeroing a value")
    per: Literal["unit", "channel", "example"] = Field(
        "unit", description="zeroed at a time; channel: a whole map (spatial dropout); example: all (stochastic depth)"
    )

    @override
    def forward(self, call: Call, x: Array) -> Array:
        if call.key is None or self.rate == 0:
            return x
        return random.dropout(call.key, x, self.rate, self.per)
