"""One line of a list of layers. `cnncli.layers` fills ``KINDS`` with all layers, composites among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from pydantic_core import PydanticCustomError

from cnncli.layers.base import Layer
from cnncli.spec import NAME, NAME_FOR_EDITORS, Choice, Pattern, Settings, describe, sequence

KINDS: dict[str, type[Layer]] = {}
BESIDE = ("name", "from")  # what may stand beside a layer

if TYPE_CHECKING:
    AnyLayer = Layer
else:
    AnyLayer = Annotated[Any, Choice(Layer.family, KINDS)]
_MEANING = "a name of letters, digits, _ and -, beginning with a letter"
Name = Annotated[str, Field(max_length=64), Pattern(f"^{NAME}$", _MEANING, f"^{NAME_FOR_EDITORS}$")]


def _sources(value: Any) -> Any:
    """``from: a`` is ``from: [a]``."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class Entry(Settings):
    """One line of a layer list: a layer, and where given its name and where its input comes from."""

    layer: SerializeAsAny[AnyLayer]
    name: Name | None = None
    sources: Annotated[tuple[str, ...], BeforeValidator(_sources)] = Field((), alias="from")

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        """``{conv: 6, name: stem, from: x}`` -> fields. The layer's own kind is the key that is left."""
        if not isinstance(value, dict):
            return {"layer": value}
        if isinstance(value.get("layer"), Layer):
            return value
        beside = {key: value[key] for key in BESIDE if value.get(key) is not None}
        layer = {key: item for key, item in value.items() if key not in BESIDE}
        for kind, fields in layer.items():
            if inner := [key for key in BESIDE if isinstance(fields, dict) and key in fields]:
                hint = f"Write {{{kind}: {{...}}, {inner[0]}: ...}}."
                raise PydanticCustomError("inner_name", "{word} stands beside {kind}, not inside it",
                                          {"word": inner[0], "kind": kind, "hint": hint})  # fmt: skip
        if len(layer) > 1:
            raise PydanticCustomError("two_layers", "one entry holds one layer, got {kinds}",
                                      {"kinds": ", ".join(layer), "hint": "Begin each with its own -."})  # fmt: skip
        return {"layer": layer, **beside}

    def to_yaml(self) -> dict[str, Any]:
        """The entry as it is written, every field filled in."""
        name = {"name": self.name} if self.name else {}
        return self.layer.to_yaml() | name | ({"from": list(self.sources)} if self.sources else {})


def _list(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise PydanticCustomError("list", "expected a list of layers, got {got}", {"got": describe(value)})
    return value


if TYPE_CHECKING:
    Entries = tuple[Entry, ...]
    Paths = tuple[Entries, ...]
else:
    Entries = Annotated[sequence(Entry), BeforeValidator(_list)]
    Paths = sequence(Entries)
