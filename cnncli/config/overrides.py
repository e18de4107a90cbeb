"""``train.epochs=3 data.source=digits`` on the command line: the same values, at the same paths, as in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cnncli.config.reader import Node, read_value
from cnncli.errors import ConfigError, Place

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def apply_overrides(root: Node, overrides: Sequence[str]) -> Node:
    """A new tree with each ``path=value`` set. A missing section is made; a list item must exist."""
    for override in overrides:
        root = _apply(root, override)
    return root


def _apply(root: Node, override: str) -> Node:
    path, equals, text = override.partition("=")
    place = Place(override)
    if not equals or not re.fullmatch(r"[^.\[\]=]+(\.[^.\[\]]+|\[\d+\])*", path):
        raise ConfigError.of("is not an override", "Write path.to.field=value, as in train.epochs=3.", place)
    steps = [name or int(index) for name, index in _STEP.findall(path)]
    value = _at(read_value(text, override, path), place)
    return _set(root, steps, value, place)


def _at(node: Node, place: Place) -> Node:
    """The node with ``place`` for its own: columns inside an override help nobody."""
    value: Any = node.value
    if isinstance(value, dict):
        value = {key: _at(item, place) for key, item in value.items()}
    elif isinstance(value, list):
        value = [_at(item, place) for item in value]
    return replace(node, value=value, place=place, keys=dict.fromkeys(node.keys, place))


def _set(node: Node, steps: list[str | int], value: Node, place: Place) -> Node:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        if not isinstance(node.value, list) or step >= len(node.value):
            size = f"it has {len(node.value)} items" if isinstance(node.value, list) else "it is not a list"
            raise ConfigError.of(f"there is no {node.path}[{step}]: {size}", "Count from 0.", place)
        items = list(node.value)
        items[step] = _set(items[step], rest, value, place)
        return replace(node, value=items)
    if isinstance(node.value, list):
        raise ConfigError.of(f"{node.path} is a list", f"Write {node.path}[0] for its first item.", place)
    items = dict(node.value) if isinstance(node.value, dict) else {}
    if not items and isinstance(node.value, str) and rest is not None:
        items = {node.value: Node({}, place, f"{node.path}.{node.value}")} if node.value == step else {}
    path = f"{node.path}.{step}" if node.path else step
    items[step] = _set(items.get(step, Node({}, place, path)), rest, value, place)
    return replace(node, value=items, keys={**node.keys, step: node.keys.get(step, place)})
