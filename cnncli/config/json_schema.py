"""The JSON Schema of a config, for editors: every spec typed, in its three written forms.

A file without ``blocks:`` is held to it exactly. In one with blocks, an entry may have any word for a layer (it may be
a block's), and a layer's field may be a ``$parameter``: what neither a schema nor an editor can know, `cnn` checks.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from cnncli.config.field_lookup import choices, fields, holders
from cnncli.config.schema import Config
from cnncli.layers import Entry
from cnncli.optimizers import optax_table
from cnncli.spec import Choice, Spec, plain

OPEN = "_in_blocks"  # ends the names of definitions for files with blocks
_DOLLAR = {"type": "string", "pattern": r"^\$"}
PARAMETER = {"description": "a parameter of the block around it",
             "anyOf": [_DOLLAR, {"type": "array", "contains": _DOLLAR}]}  # fmt: skip
Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema (draft 2020-12) of a config file."""
    writer = _Writer()
    root = writer.fields(Config, "")
    model = {"properties": {"model": root["properties"].pop("model")}}
    with_blocks = {"properties": {"model": writer.clean({"$ref": "#/$defs/ModelSettings"}, OPEN)}}
    root["properties"] |= {"model": {"type": "object"}, "blocks": writer.blocks()}
    root["required"].remove("name")  # the file's, unless given
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Written by `cnn schema`, with optax {optax_table()['optax']}.",
        "title": "cnn config",
        **root,
        "if": {"required": ["blocks"]},
        "then": with_blocks,
        "else": model,
        "$defs": dict(sorted(writer.definitions.items())),
    }


class _Generate(GenerateJsonSchema):
    """Defaults as YAML writes them."""

    def encode_default(self, dft: Any) -> Any:
        """A spec of defaults only by its name."""
        bare = isinstance(dft, Spec) and not dft.model_fields_set
        return dft.kind if bare and isinstance(dft, Spec) else plain(dft)


class _Writer:
    """Collects ``definitions``. ``mode``: OPEN for files with blocks, else nothing."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self.classes: dict[str, type[BaseModel]] = {}
        self.families: dict[str, Choice] = {}
        self._collect(Config)

    def _collect(self, model: type[BaseModel]) -> None:
        """Every section and family below ``model``, by name."""
        for holder in [each for info in fields(model).values() for each in holders(info)]:
            if isinstance(holder, Choice) and holder.family not in self.families:
                self.families[holder.family] = holder
                for member in holder.members.values():
                    self._collect(member)
            elif isinstance(holder, type) and holder.__name__ not in self.classes:
                self.classes[holder.__name__] = holder
                self._collect(holder)

    def fields(self, model: type[BaseModel], mode: str) -> Schema:
        """A mapping of a class's fields."""
        made = model.model_json_schema(by_alias=True, schema_generator=_Generate)
        properties = {name: self.clean(each, mode) for name, each in made.get("properties", {}).items()}
        if mode and issubclass(model, Spec):
            properties = {name: self._or_parameter(each, model, name) for name, each in properties.items()}
        about = {} if issubclass(model, Spec) else {"description": inspect.cleandoc(model.__doc__ or "")}
        return about | {"type": "object", "additionalProperties": False, "properties": properties,
                        "required": made.get("required", [])}  # fmt: skip

    def _or_parameter(self, schema: Schema, model: type[Spec], field: str) -> Schema:
        """A field as in files without blocks, unless its own parts differ there, or a parameter."""
        own = OPEN in json.dumps(schema)
        part = schema if own else {"$ref": f"#/$defs/{_name(model.family, model.kind)}/properties/{field}"}
        return {"description": schema.get("description", ""),
                "anyOf": [part, {"$ref": self.define("parameter", lambda: PARAMETER)}]}  # fmt: skip

    def clean(self, schema: Any, mode: str) -> Any:
        """Pydantic's schema with references to our definitions, and without its titles."""
        if isinstance(schema, list):
            return [self.clean(each, mode) for each in schema]
        if not isinstance(schema, dict):
            return schema
        made = {key: self.clean(each, mode) for key, each in schema.items() if key not in ("title", "family", "$ref")}
        if "family" in schema:
            made = {"$ref": self.define_family(self.families[schema["family"]], mode)} | made
            del made["anyOf"]
        elif "$ref" in schema:
            made = {"$ref": self.define_class(self.classes[schema["$ref"].rpartition("/")[2]], mode)} | made
        return made

    def define(self, name: str, make: Callable[[], Schema]) -> str:
        """A reference to the definition of this name, made the first time."""
        if name not in self.definitions:
            self.definitions[name] = {}  # definitions hold each other
            self.definitions[name] = make()
        return f"#/$defs/{name}"

    def define_class(self, model: type[BaseModel], mode: str) -> str:
        """A section, or an entry of a list of layers."""
        make = self._entry if model is Entry else lambda mode: self.fields(model, mode)
        return self.define(model.__name__ + mode, lambda: make(mode))

    def define_family(self, family: Choice, mode: str) -> str:
        """One spec of a family."""
        return self.define(_name(family.family) + mode, lambda: {
            "anyOf": [{"enum": _bare(family)}, {**_ONE, "properties": self._forms(family, mode)}]
        })  # fmt: skip

    def _forms(self, family: Choice, mode: str) -> dict[str, Schema]:
        """By kind, what may stand behind it: its fields, its shorthand's value, or nothing."""
        return {kind: self._form(family, kind, member, mode) for kind, member in family.members.items()}

    def _form(self, family: Choice, kind: str, member: type[Spec], mode: str) -> Schema:
        reference = self.define(_name(family.family, kind) + mode, lambda: self.fields(member, mode))
        forms: list[Schema] = [{"$ref": reference}]
        if member.shorthand and _needed(member) <= {member.shorthand}:
            forms.append({"$ref": f"{reference}/properties/{member.shorthand}"})
        if not _needed(member):
            forms.append({"type": "null"})
        return {"description": inspect.cleandoc(member.__doc__ or ""), "anyOf": forms}

    def _entry(self, mode: str) -> Schema:
        """One line of a list of layers: a layer, and where given its name and from."""
        (family,) = choices(fields(Entry)["layer"])
        name = self.clean(Entry.model_json_schema(by_alias=True)["properties"]["name"], mode)
        name = {"description": "what this layer is called, in reports and by from"} | name
        text = {"type": "string"}
        source = {"description": "names of earlier layers that it takes its input from, or input",
                  "anyOf": [text, {"type": "array", "items": text}]}  # fmt: skip
        entry = {"type": "object", "additionalProperties": bool(mode),
                 "properties": {**self._forms(family, mode), "name": name, "from": source}, **_ONE_LAYER}  # fmt: skip
        return {"anyOf": [text if mode else {"enum": _bare(family)}, entry]}

    def blocks(self) -> Schema:
        """The user's own composites."""
        param = {"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1}]}
        layers = {"type": "array", "items": {"$ref": self.define_class(Entry, OPEN)}}
        block = {
            "type": "object", "additionalProperties": False, "required": ["layers"],
            "properties": {"params": {"type": ["array", "null"], "items": param,
                                      "description": "names, each with a default or without: [width, stride: 1]"},
                           "layers": {**layers, "description": "$width stands for a parameter's value"}},
        }  # fmt: skip
        return {"type": "object", "additionalProperties": block, "description": "your own composites, used like layers"}


_ONE = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False}
# A layer by itself, or with one or both of name and from.
_ONE_LAYER = {
    "minProperties": 1,
    "if": {"required": ["name", "from"]},
    "then": {"minProperties": 3, "maxProperties": 3},
    "else": {
        "if": {"anyOf": [{"required": ["name"]}, {"required": ["from"]}]},
        "then": {"minProperties": 2, "maxProperties": 2},
        "else": {"maxProperties": 1},
    },
}


def _needed(member: type[Spec]) -> set[str]:
    """The fields that must be given."""
    return {name for name, info in fields(member).items() if info.is_required()}


def _bare(family: Choice) -> list[str]:
    """The kinds whose name alone is enough."""
    return [kind for kind, member in family.members.items() if not _needed(member)]


def _name(*words: str) -> str:
    """Of a definition: ``layer.conv``, ``data_source``."""
    return ".".join(words).replace(" ", "_")
