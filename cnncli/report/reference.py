"""``cnn layers``: reference pages, written from the classes: layers, other families such as losses, and sections."""

from __future__ import annotations

import functools
import inspect
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Group, RenderableType
from rich.text import Text

from cnncli.config.field_lookup import Holder, fields, holders
from cnncli.config.schema import Config
from cnncli.config.writer import value_text
from cnncli.errors import ConfigError
from cnncli.layers import LAYERS, Layer
from cnncli.report.tables import make_table
from cnncli.spec import Choice, Spec, did_you_mean, plain

TYPES = {"integer": "whole number", "number": "number", "boolean": "true | false", "string": "text",
         "array": "list", "null": "none", "object": "mapping"}  # fmt: skip
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


class Page(NamedTuple):
    """A word of a config. ``family``: of a layer its file (conv, pool, ...); optimizer, loss, ...; or section."""

    word: str
    family: str
    model: type[BaseModel]


@functools.cache
def _holders() -> dict[str, Holder]:
    """Every section and family of a config, by the first field that takes one: ``train``, ``optimizer`` ..."""
    found: dict[str, Holder] = {}

    def collect(model: type[BaseModel]) -> None:
        for name, info in fields(model).items():
            for holder in holders(info):
                families = {each.family for each in found.values() if isinstance(each, Choice)}
                if holder in found.values() or (isinstance(holder, Choice) and holder.family in families):
                    continue
                found[name] = holder
                for inner in LAYERS if name == "layer" else [holder]:
                    if isinstance(inner, type):
                        collect(inner)

    collect(Config)
    return found


def families() -> dict[str, Choice]:
    """The families of specs besides layers, by the field that takes one."""
    return {name: each for name, each in _holders().items() if isinstance(each, Choice) and name != "layer"}


def sections() -> dict[str, type[BaseModel]]:
    """The sections of a config by name."""
    return {name: each for name, each in _holders().items() if isinstance(each, type) and name != "layers"}


def pages() -> list[Page]:
    """All pages, layers first. Pages of several families may have the same word."""
    return [
        *(Page(layer.kind, layer.__module__.rpartition(".")[2], layer) for layer in LAYERS),
        *(Page(name, "section", section) for name, section in sections().items()),
        *(Page(kind, member.family, member) for each in families().values() for kind, member in each.members.items()),
    ]


def find(word: str) -> list[Page]:
    """The pages of a word. ConfigError with a suggestion if there is none."""
    found = [page for page in pages() if page.word == word]
    if not found:
        words = [*dict.fromkeys(page.word for page in pages()), *families()]
        aliases = {alias: page.word for page in reversed(pages()) for alias in _aliases(page)}
        hint = f"{did_you_mean(word, words, aliases)} `cnn layers` lists all."
        raise ConfigError.of(f"there is no page on '{word}'", hint)
    return found


def _aliases(page: Page) -> tuple[str, ...]:
    return page.model.aliases if issubclass(page.model, Spec) else ()


def summary(model: type[BaseModel]) -> str:
    """The first paragraph of a docstring, in one line."""
    return (inspect.getdoc(model) or "").split("\n\n")[0].replace("\n", " ")


def overview() -> list[dict[str, str]]:
    """Every layer with its family and summary."""
    return [{"family": page.family, "layer": page.word, "summary": summary(page.model)}
            for page in pages() if issubclass(page.model, Layer)]  # fmt: skip


def overview_rendered() -> RenderableType:
    """The layers, family by family; then the members of the other families, and the fields of the sections."""
    layers = make_table("family", "layer", "what it is", left=3)
    before = ""
    for row in overview():
        heading = row["family"] if row["family"] != before else ""
        if before and heading:
            layers.add_section()
        layers.add_row(heading, Text(row["layer"], style="bold"), row["summary"])
        before = row["family"]
    others = make_table("field", "what it takes", left=2)
    contents = {name: list(family.members) for name, family in families().items()}
    contents |= {name: list(fields(section)) for name, section in sections().items()}
    for name, words in contents.items():
        others.add_row(Text(name, style="bold"), ", ".join(words))
    return Group(layers, Text(""), others)


def document(name: str) -> Any:
    """What ``cnn layers NAME --json`` prints: the members of a family, or a page (the first if there are several)."""
    if family := families().get(name):
        return [{"family": family.family, "name": kind, "summary": summary(each)}
                for kind, each in family.members.items()]  # fmt: skip
    return page_document(find(name)[0])


def page_document(page: Page) -> dict[str, Any]:
    """A page as plain data."""
    types = page.model.model_json_schema(by_alias=True).get("properties", {})
    return {
        "layer" if issubclass(page.model, Layer) else "name": page.word,
        "family": page.family,
        "main": page.model.shorthand if issubclass(page.model, Spec) else None,
        "text": inspect.getdoc(page.model) or "",
        "fields": [
            {"name": name, "type": _type_text(types[name]), "default": _default_text(info),
             "meaning": info.description or ""}
            for name, info in fields(page.model).items()
        ],
        "also_called": list(_aliases(page)),
    }  # fmt: skip


def rendered(name: str) -> RenderableType:
    """The members of a family, a line each; or the pages of a word."""
    if family := families().get(name):
        table = make_table(family.family, "what it is", left=2)
        for kind, member in family.members.items():
            table.add_row(Text(kind, style="bold"), summary(member))
        return table
    parts: list[RenderableType] = []
    for page in find(name):
        document = page_document(page)
        kind = "" if issubclass(page.model, Layer) else f" ({page.family})"
        parts += [Text(""), Text(name, style="bold") + Text(kind), Text(document["text"]), Text("")]
        if document["fields"]:
            table = make_table("field", "type", "default", "meaning", left=4)
            for field in document["fields"]:
                alone = " (may stand alone)" if field["name"] == document["main"] else ""
                name_text = Text(field["name"], style="bold")
                table.add_row(name_text, field["type"], field["default"], field["meaning"] + alone)
            parts.append(table)
        if document["also_called"]:
            parts.append(Text(f"elsewhere called: {', '.join(document['also_called'])}", style="dim"))
    return Group(*parts[1:])


def _default_text(info: FieldInfo) -> str:
    """A default as YAML writes it."""
    if info.is_required():
        return "must be given"
    if isinstance(info.default, Spec):
        return info.default.kind
    if isinstance(info.default, float):
        return str(info.default)
    return "none" if info.default is None else value_text(plain(info.default))


def _type_text(schema: dict[str, Any]) -> str:
    """A JSON Schema in words."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "family" in schema:
        return f"one {schema['family']}"
    if "const" in schema:
        return str(schema["const"])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        texts = dict.fromkeys(map(_type_text, options))
        return " | ".join(texts) if len(texts) < 6 else "one by name"
    if "family" in schema.get("items", {}):
        return f"list of {schema['items']['family']}s"
    if isinstance(schema.get("type"), str):
        bounds = ", ".join(f"{sign} {schema[key]:.12g}" for key, sign in BOUNDS.items() if key in schema)
        return f"{TYPES[schema['type']]} {bounds}".rstrip()
    return "mapping" if "$ref" in schema else "value"
