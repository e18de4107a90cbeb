"""Every layer of the language, in one list. A layer is added by its class and one word here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, SerializeAsAny, model_validator
from pydantic_core import PydanticCustomError

from cnncli.layers import activation, conv, dense, joins, norm, pool, rbf, reshape, upsample
from cnncli.layers.base import Call, Layer, Resolved, Shape, Weight, Window
from cnncli.layers.composites import Aux, Block, Branches, Composite, Repeat, Residual
from cnncli.layers.dropout import Dropout
from cnncli.spec import Settings, check, describe, one_of, sequence

LAYERS: tuple[type[Layer], ...] = (
    conv.Conv, conv.LocallyConnected, dense.FullyConnected,
    pool.MaxPool, pool.AvgPool, pool.L2Pool, pool.StochasticPool, pool.Subsample, pool.GlobalAvgPool,
    pool.GlobalMaxPool, upsample.ConvTranspose, upsample.Upsample, upsample.MaxUnpool,
    norm.BatchNorm, norm.LayerNorm, norm.GroupNorm, norm.RmsNorm, norm.Lrn, Dropout,
    activation.LinearActivation, activation.Sign, activation.Hardlim, activation.Sigmoid, activation.HardSigmoid,
    activation.Tanh, activation.HardTanh, activation.ScaledTanh, activation.Softmax, activation.Relu,
    activation.LeakyRelu, activation.Prelu, activation.Elu, activation.Selu, activation.Softplus, activation.Gelu,
    activation.Swish, activation.HardSwish, activation.Maxout, rbf.Rbf,
    reshape.Flatten, reshape.PadChannels, joins.Add, joins.Multiply, joins.Concat,
    Block, Repeat, Residual, Branches, Aux,
)  # fmt: skip

if TYPE_CHECKING:
    AnyLayer = Layer
else:
    AnyLayer = one_of(LAYERS)
Name = Annotated[str, Field(pattern=r"^[^\W\d][\w-]*$", max_length=64)]


def _sources(value: Any) -> Any:
    """``from: a`` is ``from: [a]``."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class Entry(Settings):
    """One line of a layer list: a layer, and where given its name and where its input comes from."""

    layer: SerializeAsAny[AnyLayer]
    name: Name | None = None
    sources: Annotated[tuple[str, ...], check(_sources)] = Field((), alias="from")

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        """``{conv: 6, name: stem, from: x}`` -> fields. The layer's own word is the key that is left."""
        if not isinstance(value, dict):
            return {"layer": value}
        if "layer" in value and isinstance(value["layer"], Layer):
            return value
        extra = {key: value[key] for key in ("name", "from") if value.get(key) is not None}
        layer = {key: item for key, item in value.items() if key not in ("name", "from")}
        _refuse_inner_name(layer)
        return {"layer": layer, **extra}

    def to_yaml(self) -> dict[str, Any]:
        """The entry as it is written, every field filled in."""
        extra = {"name": self.name} if self.name else {}
        return self.layer.to_yaml() | extra | ({"from": list(self.sources)} if self.sources else {})


def _refuse_inner_name(layer: dict[str, Any]) -> None:
    for kind, fields in layer.items():
        inner = [key for key in ("name", "from") if isinstance(fields, dict) and key in fields]
        if inner:
            hint = f"Write {{{kind}: {{...}}, {inner[0]}: ...}}."
            raise PydanticCustomError(
                "inner_name", "{word} stands beside {kind}, not inside it",
                {"word": inner[0], "kind": kind, "hint": hint},
            )  # fmt: skip
    if len(layer) > 1:
        words = ", ".join(layer)
        raise PydanticCustomError(
            "two_layers", "one entry holds one layer, got {words}",
            {"words": words, "hint": "Begin each with its own -."},
        )  # fmt: skip


def _list(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise PydanticCustomError("list", "expected a list of layers, got {got}", {"got": describe(value)})
    return value


if TYPE_CHECKING:
    Entries = tuple[Entry, ...]
    Paths = tuple[Entries, ...]
else:
    Entries = Annotated[sequence(Entry), check(_list)]
    Paths = sequence(Entries)

# The fields of composites hold entries, and an entry holds any layer: these types are known only here.
for composite in (Block, Repeat, Residual, Branches, Aux):
    composite.model_rebuild(_types_namespace={"Entries": Entries, "Paths": Paths})

__all__ = [
    "LAYERS", "AnyLayer", "Call", "Composite", "Entries", "Entry", "Layer", "Name", "Paths", "Resolved", "Shape",
    "Weight", "Window",
]  # fmt: skip
