"""``cnn layers``: the reference, written from the classes themselves: layers, and every other family and section."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.text import Text

from cnncli.config.field_lookup import fields, holders
from cnncli.config.schema import Config
from cnncli.config.writer import one_line
from cnncli.errors import ConfigError
from cnncli.layers import LAYERS, Layer
from cnncli.report.tables import table
from cnncli.spec import Choice, Spec, did_you_mean, plain

Page = type[BaseModel]  # what has a page: a spec, or a section of the config


def summary(page: Page) -> str:
    """The first sentence of a docstring."""
    return (inspect.getdoc(page) or "").split("\n\n")[0].replace("\n", " ")


def family_of(page: Page) -> str:
    """Of a layer the module it lives in: conv, pool, norm ...; of others what they are: optimizer, schedule ..."""
    if issubclass(page, Layer):
        return page.__module__.rpartition(".")[2]
    return page.family if issubclass(page, Spec) else "section"


@functools.cache
def _holders() -> dict[str, Page | Choice]:
    """Every section and family of a config, by the first field that takes one: ``train``, ``optimizer`` ..."""
    found: dict[str, Page | Choice] = {}

    def collect(model: Page) -> None:
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
    """The families of specs besides layers."""
    return {name: each for name, each in _holders().items() if isinstance(each, Choice) and name != "layer"}


def sections() -> dict[str, Page]:
    """The sections of a config."""
    return {name: each for name, each in _holders().items() if isinstance(each, type) and name != "layers"}


def pages() -> list[tuple[str, Page]]:
    """(word, class) of all that has a page, layers first."""
    specs = [(kind, member) for family in families().values() for kind, member in family.members.items()]
    return [*((each.kind, each) for each in LAYERS), *sections().items(), *specs]


def overview() -> list[dict[str, str]]:
    """Every layer: family, name, what it is."""
    return [{"family": family_of(each), "layer": each.kind, "summary": summary(each)} for each in LAYERS]


def overview_table() -> RenderableType:
    """The layers, family by family; then the words of the other families, and the sections."""
    made = table("family", "layer", "what it is", left=3)
    before = ""
    for row in overview():
        if before and row["family"] != before:
            made.add_section()
        made.add_row(row["family"] if row["family"] != before else "", Text(row["layer"], style="bold"), row["summary"])
        before = row["family"]
    others = table("field", "what it takes", left=2)
    for name, family in families().items():
        others.add_row(Text(name, style="bold"), ", ".join(family.members))
    for name, section in sections().items():
        others.add_row(Text(name, style="bold"), ", ".join(fields(section)))
    return Group(made, Text(""), others)


def find(name: str) -> list[Page]:
    """The pages of a word, which may be of several families. ConfigError with a suggestion where there is none."""
    found = [page for word, page in pages() if word == name]
    if not found:
        words = [*dict.fromkeys(word for word, _ in pages()), *families()]
        others = {word: page.kind for _, page in reversed(pages()) if issubclass(page, Spec) for word in page.aliases}
        hint = f"{did_you_mean(name, words, others)} `cnn layers` lists all."
        raise ConfigError.of(f"there is no page on '{name}'", hint)
    return found


def family_table(name: str) -> RenderableType:
    """The members of a family, a line each."""
    made = table(families()[name].family, "what it is", left=2)
    for kind, member in families()[name].members.items():
        made.add_row(Text(kind, style="bold"), summary(member))
    return made


def documents(name: str) -> Any:
    """What ``cnn layers NAME --json`` prints: a page, the first of several; or the members of a family."""
    if family := families().get(name):
        return [{"family": family.family, "name": kind, "summary": summary(each)}
                for kind, each in family.members.items()]  # fmt: skip
    return page(find(name)[0])


def page(about: Page) -> dict[str, Any]:
    """A reference page as plain data."""
    kind = about.kind if issubclass(about, Spec) else next(name for name, each in sections().items() if each is about)
    return {
        "layer" if issubclass(about, Layer) else "name": kind,
        "family": family_of(about),
        "main": about.shorthand if issubclass(about, Spec) else None,
        "text": inspect.getdoc(about) or "",
        "fields": [
            {"name": name, "type": type_text(about, name), "default": default_text(info),
             "meaning": info.description or ""}
            for name, info in fields(about).items()
        ],
        "also_called": list(about.aliases) if issubclass(about, Spec) else [],
    }  # fmt: skip


def page_text(name: str) -> RenderableType:
    """The reference pages of a word, or the list of a family."""
    if name in families():
        return family_table(name)
    parts: list[RenderableType] = []
    for about in find(name):
        document = page(about)
        listed = table("field", "type", "default", "meaning", left=4)
        for field in document["fields"]:
            main = " (may stand alone)" if field["name"] == document["main"] else ""
            listed.add_row(Text(field["name"], style="bold"), field["type"], field["default"], field["meaning"] + main)
        kind = "" if issubclass(about, Layer) else f" ({document['family']})"
        parts += [Text(""), Text(name, style="bold") + Text(kind), Text(document["text"]), Text("")]
        if document["fields"]:
            parts.append(listed)
        if document["also_called"]:
            parts.append(Text(f"elsewhere called: {', '.join(document['also_called'])}", style="dim"))
    return Group(*parts[1:])


def type_text(layer: Page, field: str) -> str:
    """A field's type in words, from its JSON schema."""
    schema = layer.model_json_schema(by_alias=True)
    return _words(schema["properties"][field])


def default_text(info: Any) -> str:
    """A default as YAML writes it."""
    if info.is_required():
        return "must be given"
    if isinstance(info.default, Spec):
        return info.default.kind
    if isinstance(info.default, float):
        return str(info.default)
    return "none" if info.default is None else one_line([plain(info.default)])[1:-1]


def _words(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "family" in schema:
        return f"one {schema['family']}"
    if "const" in schema:
        return str(schema["const"])
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        words = dict.fromkeys(_words(option) for option in options)
        return " | ".join(words) if len(words) < 6 else "one by name"
    kinds = {"integer": "whole number", "number": "number", "boolean": "true | false", "string": "text"}
    kinds |= {"array": "list", "null": "none", "object": "mapping"}
    kind = schema.get("type")
    if kind == "array" and "family" in schema.get("items", {}):
        return f"list of {schema['items']['family']}s"
    if isinstance(kind, str):
        return kinds[kind] + _bounds(schema)
    return "mapping" if "$ref" in schema else "value"


def _bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    parts = [f"{sign} {schema[key]:.12g}" for key, sign in signs.items() if key in schema]
    return f" {', '.join(parts)}" if parts else ""
