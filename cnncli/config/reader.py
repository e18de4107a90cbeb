"""YAML text to nodes: plain data in which every value knows where it was written.

A careful subset of YAML 1.2 (core schema) on PyYAML's parser: one document, text keys, no anchors, aliases or tags,
nothing that could name code. What looks odd in YAML 1.1 is what was written: ``no``, ``on``, ``010`` and ``1:30`` are
text, ``1e-3`` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cnncli.errors import ConfigError, Place, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_DIGITS = 19

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LITERALS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf", ".INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(frozen=True)
class Node:
    """A value and where it stands.

    ``value``: a dict of nodes, a list of nodes or a scalar. ``path``: in words, ``model.layers[3].conv``.
    ``keys``: the places of a dict's keys. ``note``: how it came here, when that is not where it was written.
    """

    value: Any
    place: Place
    path: str = ""
    keys: dict[str, Place] = field(default_factory=dict)
    note: str = ""

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def find(self, location: tuple[int | str, ...]) -> Node:
        """The deepest written node on the way to ``location``; steps that the text left out are passed over."""
        node = self
        for step in location:
            if isinstance(node.value, dict) and step in node.value:
                node = node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
        return node


def read_file(path: Path) -> Node:
    """Read a config file. ConfigError (exit 2) on anything that is not one YAML mapping."""
    place = Place(str(path))
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError.of("no such file", "`cnn init NAME` writes a starter config.", place) from None
    except IsADirectoryError:
        raise ConfigError.of("is a directory, not a YAML file", place=place) from None
    except OSError as error:
        raise ConfigError.of(f"cannot be read: {error.strerror}", place=place) from None
    if len(content) > MAX_BYTES:
        raise ConfigError.of("is over 1 MiB, which no network needs", place=place)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError.of("is not UTF-8 text", "Save it as UTF-8.", Place(str(path), line, 1)) from None
    return read_text(text, str(path))


def read_text(text: str, file: str) -> Node:
    """Read one YAML document that is a mapping."""
    node = read_value(text, file)
    if not isinstance(node.value, dict):
        what = "is empty" if node.value is None else "is not a mapping of sections at its top"
        raise ConfigError.of(what, "A config has the sections data, model and train.", node.place)
    return node


def read_value(text: str, file: str, path: str = "") -> Node:
    """Read one YAML document of any kind. ``path``: the path in words of its root."""
    problems: list[Problem] = []
    try:
        events = _events(text, file)
        first = next(events)
        node = _build(first, events, file, path, problems) if not isinstance(first, yaml.StreamEndEvent) else None
        if node is not None and not isinstance(extra := next(events), yaml.StreamEndEvent):
            raise ConfigError.of("a second document begins", "One file is one config.", _place(file, extra.start_mark))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(file, mark) if mark else Place(file)
        what = ", ".join(part for part in (error.context, error.problem) if part)
        hint = "Indent with spaces." if "'\\t'" in what else ""
        raise ConfigError.of(f"not YAML: {what}", hint, place) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise ConfigError.of(f"has a character YAML forbids (U+{ord(error.character):04X})",
                             place=Place(file, line, column)) from None  # fmt: skip
    if problems:
        raise ConfigError(problems)
    return node or Node(None, Place(file, 1, 1), path)


def _events(text: str, file: str) -> Iterator[yaml.Event]:
    """Parser events without stream and document marks; refuses what the subset leaves out."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)):
            continue
        place = _place(file, event.start_mark)
        if getattr(event, "anchor", None):
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            raise ConfigError.of(f"anchors and aliases are not read (got {sign}{event.anchor})",
                                 "Use blocks: for what repeats.", place)  # fmt: skip
        if getattr(event, "tag", None):
            raise ConfigError.of(f"tags are not read (got {event.tag})", "Write the plain value.", place)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ConfigError.of(f"nested more than {MAX_DEPTH} deep", place=place)
        yield event


def _build(event: yaml.Event, events: Iterator[yaml.Event], file: str, path: str, problems: list[Problem]) -> Node:
    place = _place(file, event.start_mark)
    if isinstance(event, yaml.ScalarEvent):
        return Node(_scalar(event, place, path, problems), place, path)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_build(event, events, file, f"{path}[{len(items)}]", problems))
        return Node(items, place, path)
    values: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key_place = _place(file, event.start_mark)
        if not isinstance(event, yaml.ScalarEvent):
            raise ConfigError.of("a key must be text", place=key_place, path=path)
        key = event.value
        if key in values:
            first = f"the key '{key}' stands twice (first on line {keys[key].line})"
            problems.append(Problem(first, key_place, path, "Keep one."))
        values[key] = _build(next(events), events, file, f"{path}.{key}" if path else key, problems)
        keys[key] = key_place
    return Node(values, place, path, keys)


def _scalar(event: yaml.ScalarEvent, place: Place, path: str, problems: list[Problem]) -> Any:
    text = event.value
    if event.style is not None:
        return text
    if text in _LITERALS:
        return _LITERALS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            problems.append(Problem(f"a whole number of {len(text)} digits is out of range", place, path))
            return 0
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) and not re.fullmatch(r"[-+]?0[0-9]+", text) else text


def _place(file: str, mark: Any) -> Place:
    return Place(file, mark.line + 1, mark.column + 1)
