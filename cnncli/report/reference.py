"""``cnn layers``: the reference, written from the layer classes themselves."""

from __future__ import annotations

import inspect
import re
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cnncli.errors import ConfigError
from cnncli.layers import LAYERS, Layer
from cnncli.report.tables import table
from cnncli.spec import did_you_mean


def summary(layer: type[Layer]) -> str:
    """The first sentence of a layer's docstring."""
    return (inspect.getdoc(layer) or "").split("\n\n")[0].replace("\n", " ")


def family_of(layer: type[Layer]) -> str:
    """The module a layer lives in: conv, pool, norm ..."""
    return layer.__module__.rpartition(".")[2]


def overview() -> list[dict[str, str]]:
    """Every layer: family, name, what it is."""
    return [{"family": family_of(each), "layer": each.kind, "summary": summary(each)} for each in LAYERS]


def overview_table() -> RenderableType:
    """The overview, family by family."""
    made = table("family", "layer", "what it is", left=3)
    before = ""
    for row in overview():
        if before and row["family"] != before:
            made.add_section()
        made.add_row(row["family"] if row["family"] != before else "", Text(row["layer"], style="bold"), row["summary"])
        before = row["family"]
    return made


def find(name: str) -> type[Layer]:
    """A layer by its word. ConfigError with a suggestion where there is none."""
    known = {layer.kind: layer for layer in LAYERS}
    if name not in known:
        others = {word: layer.kind for layer in LAYERS for word in layer.words}
        raise ConfigError.of(f"there is no layer '{name}'", did_you_mean(name, list(known), others))
    return known[name]


def page(layer: type[Layer]) -> dict[str, Any]:
    """A layer's reference page as plain data."""
    return {
        "layer": layer.kind,
        "family": family_of(layer),
        "main": layer.main,
        "text": inspect.getdoc(layer),
        "fields": [
            {"name": info.alias or name, "type": type_text(layer, info.alias or name), "default": default_text(info),
             "meaning": info.description or ""}
            for name, info in layer.model_fields.items()
        ],
        "also_called": list(layer.words),
    }  # fmt: skip


def page_text(layer: type[Layer]) -> RenderableType:
    """A layer's reference page."""
    document = page(layer)
    fields = table("field", "type", "default", "meaning", left=4)
    for field in document["fields"]:
        main = " (may stand alone)" if field["name"] == document["main"] else ""
        fields.add_row(Text(field["name"], style="bold"), field["type"], field["default"], field["meaning"] + main)
    parts: list[RenderableType] = [Text(layer.kind, style="bold"), Text(document["text"]), Text("")]
    if document["fields"]:
        parts.append(fields)
    if document["also_called"]:
        parts.append(Text(f"elsewhere called: {', '.join(document['also_called'])}", style="dim"))
    return Group(*parts)


def type_text(layer: type[Layer], field: str) -> str:
    """A field's type in words, from its JSON schema."""
    schema = layer.model_json_schema(by_alias=True)
    return _words(schema["properties"][field])


def default_text(info: Any) -> str:
    """A default as YAML writes it."""
    from cnncli.spec import Spec

    if info.is_required():
        return "must be given"
    value = info.default
    if isinstance(value, Spec):
        return value.kind
    return (
        {True: "true", False: "false", None: "none", (): "[]"}.get(value, str(value)) if _plain(value) else str(value)
    )


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool) or value == ()


def _words(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        words = dict.fromkeys(_words(option) for option in options)
        return " | ".join(words) if len(words) < 6 else "one by name"
    kinds = {"integer": "whole number", "number": "number", "boolean": "true | false", "string": "text"}
    kinds |= {"array": "list", "null": "none", "object": "mapping"}
    kind = schema.get("type")
    if isinstance(kind, str):
        return kinds[kind] + _bounds(schema)
    return re.sub(r"^.*/", "", schema.get("$ref", "value"))


def _bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    parts = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f" {', '.join(parts)}" if parts else ""
