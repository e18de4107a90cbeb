"""Validation errors to problems at their place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from cnncli.config.reader import Node
from cnncli.errors import Problem
from cnncli.spec import FIELD_WORDS, Spec, describe, did_you_mean

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}


def problems_of(errors: list[ErrorDetails], root: Node, model: type[BaseModel]) -> list[Problem]:
    """Each error once, in the order of the file."""
    found = [problem for error in errors for problem in _problems(error, root, model)]
    return sorted(dict.fromkeys(found), key=lambda p: (p.place.line or 0, p.place.column or 0) if p.place else (0, 0))


def _problems(error: ErrorDetails, root: Node, model: type[BaseModel]) -> Iterator[Problem]:
    location, kind, context = error["loc"], error["type"], error.get("ctx", {})
    node = root.find(location)
    if kind == "arguments":
        for key, message, hint in context["problems"]:
            yield _at(node.find((node_key(node), key)), message, hint)
    elif kind == "extra_forbidden":
        parent, key = root.find(location[:-1]), str(location[-1])
        owner = _class_at(model, location[:-1])
        known = [info.alias or name for name, info in owner.model_fields.items()] if owner else []
        place = parent.keys.get(key, node.place)
        hint = did_you_mean(key, known, FIELD_WORDS) if known else "It takes none."
        yield Problem(f"unknown key '{key}'{parent.note}", place, parent.path, hint)
    elif kind == "missing":
        yield _at(node, f"needs {location[-1]}", _about(model, location))
    else:
        yield _at(node, _message(error), str(context.get("hint", "")))


def node_key(node: Node) -> str:
    """The one key of a spec's mapping."""
    return next(iter(node.value)) if isinstance(node.value, dict) and node.value else ""


def _at(node: Node, message: str, hint: str = "") -> Problem:
    return Problem(message + node.note, node.place, node.path, hint)


def _message(error: ErrorDetails) -> str:
    kind, context, got = error["type"], error.get("ctx", {}), describe(error["input"])
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {got}"
    if kind in _BOUNDS:
        return f"expected {_BOUNDS[kind].format(**context)}, got {got}"
    if kind in ("literal_error", "enum"):
        return f"expected {context['expected']}, got {got}"
    if kind == "string_pattern_mismatch":
        return f"not a name: {got} (letters, digits, _ and -, beginning with a letter)"
    if kind in ("too_short", "too_long"):
        least = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"expected {least} items, got {context['actual_length']}"
    return error["msg"]


def _about(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """What a missing field is for."""
    owner = _class_at(model, location[:-1])
    for name, info in (owner.model_fields if owner else {}).items():
        if (info.alias or name) == location[-1] and info.description:
            return f"({info.description})"
    return ""


def _class_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The class whose fields stand at ``location``."""
    current: list[type[BaseModel]] = [model]
    for step in location:
        if isinstance(step, int):
            continue
        tagged = [each for each in current if issubclass(each, Spec) and each.kind == step]
        if tagged:
            current = tagged
            continue
        owners = [each for each in current if step in {i.alias or n for n, i in each.model_fields.items()}]
        if not owners:
            return None
        infos = owners[0].model_fields.items()
        annotation = next(info.annotation for name, info in infos if (info.alias or name) == step)
        current = list(_models(annotation))
    return current[0] if len(current) == 1 else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
