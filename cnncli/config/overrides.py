"""``train.epochs=3 data.source=digits`` on the command line: the same values, at the same paths, as in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from cnncli.config.field_lookup import class_at, fields, fields_at
from cnncli.config.reader import FORBIDDEN, MAX_DEPTH, MAX_VALUES, YamlNode, growth, read_value
from cnncli.config.schema import Config
from cnncli.config.suggest import SECTIONS
from cnncli.errors import ConfigError, Place, Problem
from cnncli.layers.entry import BESIDE
from cnncli.spec import Spec, describe

MAX_SHOWN = 100  # characters of an override in a message
_PATH = re.compile(r"[^.\[\]=\s]+(\.[^.\[\]=\s]+|\[[0-9]{1,6}\])*")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def apply_overrides(root: YamlNode, overrides: Sequence[str]) -> YamlNode:
    """A new tree with each ``path=value`` set, in order. A missing section is made; a list item must exist."""
    problems: list[Problem] = []
    for override in overrides:
        try:
            root = _apply(root, override)
        except ConfigError as error:  # columns inside an override help nobody
            problems += [replace(problem, place=_place(override)) for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    if overrides and root.size() > (most := MAX_VALUES * growth(root.place.file)):
        raise ConfigError.of(f"holds more than {most:,} values with its overrides", "Keep data in files.", root.place)
    return root


def _apply(root: YamlNode, override: str) -> YamlNode:
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals or not _PATH.fullmatch(path) or FORBIDDEN.search(path):
        raise ConfigError.of("is not an override", "Write path.to.field=value, as in train.epochs=3.")
    if len(steps := _steps(path)) > MAX_DEPTH:
        raise ConfigError.of(f"names a place more than {MAX_DEPTH} deep")
    home = next((name for name, section in SECTIONS.items() if steps[0] in fields(section)), None)
    if home and len(steps) > 1 and isinstance(steps[1], int):
        raise ConfigError.of(f"{steps[0]} stands in {home}", f"Write {home}.{override}.")
    return _set(root, steps, read_value(text, override, path).at(_place(override)))


def _place(override: str) -> Place:
    return Place(override if len(override) <= MAX_SHOWN else f"{override[: MAX_SHOWN - 3]}...")


def _steps(path: str) -> list[str | int]:
    return [name or int(index) for name, index in _STEP.findall(path)]


def _set(node: YamlNode, steps: list[str | int], value: YamlNode) -> YamlNode:
    """``node`` with ``value`` at the end of ``steps``."""
    if not steps:
        return replace(value, path=node.path or value.path)
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        return _set_item(node, step, rest, value)
    node = _opened(node, step, value)
    path = f"{node.path}.{step}" if node.path else step
    inner = _set(node.value.get(step, YamlNode({} if rest else None, value.place, path)), rest, value)
    return replace(node, value={**node.value, step: inner}, keys={step: value.place, **node.keys})


def _set_item(node: YamlNode, index: int, rest: list[str | int], value: YamlNode) -> YamlNode:
    if not isinstance(node.value, list) or index >= len(node.value):
        size = f"it has {len(node.value)} items" if isinstance(node.value, list) else "it is not a list"
        raise ConfigError.of(f"there is no {node.path}[{index}]: {size}", "Items count from 0.")
    items = list(node.value)
    items[index] = _set(items[index], rest, value)
    return node.having(items)


def _opened(node: YamlNode, step: str, value: YamlNode) -> YamlNode:
    """``node`` as the mapping its short form stands for: ``relu`` is ``{relu: }``, an fc of ``10`` ``{units: 10}``."""
    if isinstance(node.value, dict):
        return node
    if node.value is None:
        return replace(node, value={}, keys={})
    if shorthand := _shorthand(node.path, step):
        return replace(node, value={shorthand: replace(node, path=f"{node.path}.{shorthand}")},
                       keys={shorthand: node.place})  # fmt: skip
    entry = node.path.endswith("]") and step in BESIDE
    if isinstance(node.value, str) and (entry or node.value == step):
        word = YamlNode(None, value.place, f"{node.path}.{node.value}")
        return replace(node, value={node.value: word}, keys={node.value: node.place})
    if isinstance(node.value, list):
        raise ConfigError.of(f"{node.path} is a list", f"Write {node.path}[0] for its first item.")
    if isinstance(node.value, str) and step in fields_at(Config, (*_steps(node.path), node.value)):
        raise ConfigError.of(f"{step} belongs to {node.value}", f"Write {node.path}.{node.value}.{step}=...")
    what = f"{node.path} is {describe(node.value)}, which has no {step}"
    raise ConfigError.of(what, f"Write {node.path}=... to replace it.")


def _shorthand(path: str, field: str) -> str | None:
    """The shorthand of the spec at ``path``, if that spec has the field ``field`` too."""
    steps = _steps(path)
    location = ("model", *steps[2:]) if steps[0] == "blocks" else tuple(steps)  # a block's layers are layers
    owner = class_at(Config, location)
    return owner.shorthand if owner and issubclass(owner, Spec) and field in fields(owner) else None
