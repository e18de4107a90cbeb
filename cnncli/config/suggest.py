"""The line to write instead of a wrong one: other frameworks' words, missing signs, shortcuts of overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from cnncli.config.field_lookup import choices, fields
from cnncli.config.reader import YamlNode, scalar
from cnncli.config.schema import DataSettings, ModelSettings, TrainSettings
from cnncli.config.writer import value_text
from cnncli.spec import FIELD_WORDS, NO_FIELD, Choice, Spec, nearest, snake_case

SECTIONS: dict[str, type[BaseModel]] = {"data": DataSettings, "model": ModelSettings, "train": TrainSettings}
MAX_LINE = 100  # characters of a line that is shown
ACTIVATION = ("activation", "nonlinearity", "act")
_KIND = ("type", "kind", "class", "class_name", "layer", "op")  # keys that elsewhere hold a layer's name
_TUPLE = re.compile(r"\(\s*([-+\d.][-+\d., ]*?),?\s*\)")
_JOINED = re.compile(r"(\w+)\s*(?:[:=]\s*|\s|(?=[(\[{]))(.+)")  # fc:10, fc 10, Conv2D(32)


def number_list(text: Any) -> str:
    """``(3, 3)`` as YAML writes it, ``[3, 3]``; empty for what is no such text."""
    found = _TUPLE.fullmatch(text) if isinstance(text, str) else None
    return f"[{', '.join(each.strip() for each in found[1].split(','))}]" if found else ""


def torn_list(values: dict[str, Any], key: str) -> str:
    """A ``(3, 3)`` in braces, which YAML tears apart at its comma: ``[3, 3]`` for the key where it begins."""
    keys, text = list(values), values[key]
    if not isinstance(text, str) or not text.startswith("("):
        return ""
    for other in keys[keys.index(key) + 1 :]:
        text += f", {other}"
        if other.endswith(")"):
            return number_list(text)
    return ""


def activation(value: Any, members: Mapping[str, type[Spec]]) -> str:
    """Where an ``activation: relu`` goes."""
    name = value.get("activation") if isinstance(value, dict) else value
    near = _member(name, members) if isinstance(name, str) else None
    return f"An activation is an entry of its own{f': - {near}' if near else ', after this one'}."


def entry(keys: Mapping[str, Any], members: Mapping[str, type[Spec]]) -> str:
    """How the language says an entry of a list of layers that has no known layer; empty where that is not known."""
    others = {key: value for key, value in keys.items() if key not in ("name", "from")}
    kind = next((key for key in others if key in _KIND and isinstance(others[key], str)), None)
    if kind:  # {type: conv, filters: 3}
        word = others.pop(kind)
        return _spec(word, others or None, members)
    if len(others) != 1:
        return ""
    ((word, value),) = others.items()
    if snake_case(word) in ACTIVATION:
        return activation(value, members)
    if value is None and (joined := _JOINED.fullmatch(word)) and (near := _member(joined[1], members)):
        return f"Did you mean {near}?" if joined[2].startswith("(") else _write(f"{near}: {joined[2]}")
    kind = _member(word, members)
    translated = kind and isinstance(value, dict) and value.keys() - set(fields(members[kind]))
    return _spec(word, value, members) if translated else ""


def _spec(word: str, value: dict[str, Any] | None, members: Mapping[str, type[Spec]]) -> str:
    """A layer called ``word`` elsewhere with its fields; those that are no fields here are left out."""
    kind = _member(word, members)
    if kind is None:
        return ""
    if not value:
        return _write(f"- {kind}")
    known, written, after = list(fields(members[kind])), {}, ""
    for key, item in value.items():
        if key in ACTIVATION:
            after = f" {activation(item, members)}"
        elif near := nearest(key, known, FIELD_WORDS):
            listed = number_list(item) or torn_list(value, key)
            written[near] = [scalar(each) for each in listed[1:-1].split(", ")] if listed else item
        elif key not in NO_FIELD and not key.endswith(")"):
            return f"Did you mean {kind}?"
    return f"{_write(f'{kind}: {value_text(written)}' if written else f'- {kind}')}{after}".strip()


def _member(word: str, members: Mapping[str, type[Spec]]) -> str | None:
    return nearest(word, list(members), {other: name for name, each in members.items() for other in each.aliases})


def _write(line: str) -> str:
    return f"Write {line}." if len(line) <= MAX_LINE else ""


def override(key: str, value: YamlNode, root: YamlNode) -> str:
    """What to type for a shortcut such as ``lr=0.1``, in this config: ``train.optimizer.sgd.lr=0.1``."""
    while True:
        path, family = _path(key, root)
        inner = value.value if isinstance(value.value, dict) and len(value.value) == 1 else {}
        if path.endswith(f"{{{key}"):
            return _write(f"{path}: {value_text(value.plain())}}}")
        if path and not (inner and family and next(iter(inner)) not in family.members):
            return _write(f"{path}={value_text(value.plain())}")
        if not inner:
            break
        ((key, value),) = inner.items()  # optimizer.lr=0.1
    return ""


def _path(key: str, root: YamlNode) -> tuple[str, Choice | None]:
    """Where a field called ``key``, here or elsewhere, stands in this config, and the family of its values."""
    words = [key, *FIELD_WORDS.get(snake_case(key), "").split()]
    for name, section in SECTIONS.items():
        for word in (word for word in words if word in fields(section)):
            return f"{name}.{word}", next(iter(choices(fields(section)[word])), None)
    for name, section in SECTIONS.items():
        for field, info in fields(section).items():
            for family in choices(info):
                kind = _kind_in_use(root.find((name,)).value, field, family) or getattr(info.default, "kind", None)
                if kind and key != kind and key in family.members:  # adam.lr=0.1 where sgd is used
                    return f"{name}.{field}={{{key}", family
                near = next((word for word in words if kind and word in fields(family.members[kind])), None)
                if near:
                    return f"{name}.{field}.{kind}.{near}", None
    return "", None


def _kind_in_use(section: Any, field: str, family: Choice) -> str | None:
    node = section.get(field) if isinstance(section, dict) else None
    written = node.value if node else None
    names = written if isinstance(written, dict) else [written] if isinstance(written, str) else []
    return next((name for name in names if name in family.members), None)
