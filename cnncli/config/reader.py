"""YAML text to nodes: plain data in which every value knows where it was written.

A careful subset of YAML 1.2 (core schema) on PyYAML's parser: one document, text keys, no anchors, aliases or tags,
nothing that could name code. What looks odd in YAML 1.1 is what was written: ``no``, ``on``, ``010`` and ``1:30`` are
text, ``1e-3`` is a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from cnncli.errors import ConfigError, Place, Problem
from cnncli.safe_files import read_file

MAX_BYTES = 1 << 20
MAX_VALUES = 20_000  # under a second of parsing
MAX_DEPTH = 64
# In a run's resolved file every word stands with all its fields and blocks are written out. These times as many bytes
# and values, and lists and mappings as deep, are what a config within the limits can become there: it reads back.
RESOLVED = "resolved.yaml"
RESOLVED_GROWTH = 32
RESOLVED_DEPTH = 256
MAX_DIGITS = 19
MAX_KEY = 100

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LITERALS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf", "+.Inf", ".INF", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_TOKENS = {"stream end": "the end of the text", "scalar": "text", "document end": "the end",
           "block end": "the next key or the end of this part"}  # fmt: skip
# No text has them by intent, and PyYAML counts some as line breaks, editors do not.
FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class YamlNode:
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

    def find(self, location: tuple[int | str, ...]) -> YamlNode:
        """The deepest written node on the way to ``location``; steps that the text left out are passed over."""
        node = self
        for step in location:
            inner = node.value
            if isinstance(inner, dict):
                node = inner.get(step, node)
            elif isinstance(inner, list) and isinstance(step, int) and step < len(inner):
                node = inner[step]
        return node

    def having(self, value: Any, note: str | None = None) -> YamlNode:
        """Another value at the same place (dataclasses.replace takes ten times as long)."""
        return YamlNode(value, self.place, self.path, self.keys, self.note if note is None else note)

    def children(self) -> list[YamlNode]:
        """The nodes of a list or dict."""
        if isinstance(self.value, dict):
            return list(self.value.values())
        return self.value if isinstance(self.value, list) else []

    def problem(self, message: str, hint: str = "", place: Place | None = None) -> Problem:
        """What is wrong with this value, here or at ``place``."""
        return Problem(message, place or self.place, self.path, hint, self.note)

    def size(self) -> int:
        """How many values it holds, itself and lists and mappings among them."""
        return 1 + sum(child.size() for child in self.children())

    def at(self, place: Place) -> YamlNode:
        """The same values, all standing at ``place``."""
        value: Any = self.value
        if isinstance(value, dict):
            value = {key: item.at(place) for key, item in value.items()}
        elif isinstance(value, list):
            value = [item.at(place) for item in value]
        return replace(self, value=value, place=place, keys=dict.fromkeys(self.keys, place))


def file_text(path: Path) -> str:
    """The text of a config file. ConfigError (exit 2) where there is none."""
    place, limit = Place(str(path)), MAX_BYTES * growth(str(path))
    try:
        content = read_file(path, limit)
    except FileNotFoundError:
        raise ConfigError.of("no such file", "`cnn init NAME` writes a starter config.", place) from None
    except IsADirectoryError:
        raise ConfigError.of("is a directory, not a YAML file", place=place) from None
    except OSError as error:
        raise ConfigError.of(f"cannot be read: {(error.strerror or str(error)).lower()}", place=place) from None
    if len(content) > limit:
        raise ConfigError.of(f"is over {limit >> 20} MiB, which no network needs", place=place)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = len(content[content.rfind(b"\n", 0, error.start) + 1 : error.start].decode(errors="replace")) + 1
        raise ConfigError.of("is not UTF-8 text", "Save it as UTF-8.", Place(str(path), line, column)) from None


def growth(file: str) -> int:
    """How many times the limits for written text a file may hold: 1, or more where it is a run's resolved file."""
    return RESOLVED_GROWTH if Path(file).name == RESOLVED else 1


def read_text(text: str, file: str) -> YamlNode:
    """Read one YAML document that is a mapping."""
    node = read_value(text, file)
    if not isinstance(node.value, dict):
        what = "is empty" if node.value is None else "is not a mapping of sections at its top"
        raise ConfigError.of(what, "A config has the sections data, model and train.", node.place)
    return node


def read_value(text: str, file: str, path: str = "") -> YamlNode:
    """Read one YAML document of any kind. ``path``: the path in words of its root."""
    if odd := FORBIDDEN.search(text):
        line, column = text.count("\n", 0, odd.start()) + 1, odd.start() - text.rfind("\n", 0, odd.start())
        what = f"holds the control character U+{ord(odd[0]):04X}"
        raise ConfigError.of(what, "Delete it.", Place(file, line, column))
    reading = _Reading(text, file)
    try:
        node = reading.document(path)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, text, file) from None
    except (ValueError, OverflowError):  # PyYAML on an escape like "\UFFFFFFFF"
        raise ConfigError.of("not YAML: an escape in quotes is no character", place=reading.place) from None
    if reading.problems:
        raise ConfigError(reading.problems)
    return node


def _not_yaml(error: yaml.MarkedYAMLError, text: str, file: str) -> ConfigError:
    """PyYAML's complaint in our words."""
    mark, begin = error.problem_mark or error.context_mark, error.context_mark
    line, column, meant = _missing_sign(error, text.split("\n"))
    if meant:
        return ConfigError.of("not YAML: a ':' or a space is missing", f"Write {meant}", Place(file, line, column))
    problem = re.sub("'?<([a-z ]+)>'?", lambda found: _TOKENS.get(found[1], found[1]), error.problem or "")
    problem = problem.replace("end of stream", "end of the text")
    sign = text[begin.index : begin.index + 1] if begin else ""
    hint = ""
    if "'\\t'" in problem:
        hint = "Indent with spaces."
    elif begin and mark and begin.line != mark.line and sign and sign in "[{'\"":
        hint = f"Is the {sign} of line {begin.line + 1} closed?"
    elif "mapping values are not allowed" in problem:
        hint = "Is the line indented as the one above? Text with ': ' in it needs quotes."
    return ConfigError.of(f"not YAML: {problem}", hint, _place(file, mark))


def _missing_sign(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[int, int, str]:
    """The line, column and right form of a line without its ``:``, or a space, which PyYAML blames on a later one."""
    mark = error.problem_mark.line if error.problem_mark else 0
    before = next((number for number in range(mark - 1, -1, -1) if lines[number].split("#")[0].strip()), mark)
    if "could not find expected ':'" in str(error.problem) and error.context_mark:
        suspects = [(error.context_mark.line, True)]
    else:
        colon = "mapping values are not allowed" in str(error.problem) and before < mark
        suspects = [(mark, False), (before, colon)]
    for number, colon in suspects:
        text = lines[number].split(" #")[0].rstrip() if number < len(lines) else ""
        if meant := _with_sign(text.lstrip(), colon):
            return number + 1, len(text) - len(text.lstrip()) + 1, meant[:MAX_KEY]
    return 0, 0, ""


def _with_sign(text: str, colon: bool) -> str:
    """A line with the sign that it lacks, if one is seen; ``colon``: one is missing here or on the next line."""
    if found := re.fullmatch(r"-(?![\s-])(\w.*)", text):  # -fc: 10
        return f"- {found[1]}"
    if found := re.fullmatch(r"(- )?(\w+)\s*([\[{].*)", text):  # optimizer {sgd: 0.1}
        return f"{found[1] or ''}{found[2]}: {found[3]}"
    if found := re.fullmatch(r"(- )?([^\W\d]\w*)[:=](\S.*)", text):  # epochs:3
        return f"{found[1] or ''}{found[2]}: {found[3]}"
    if colon and (found := re.fullmatch(r"(- )?([^\W\d]\w*)(?:\s+([^:]+))?", text)):  # epochs 3
        return f"{found[1] or ''}{found[2]}:{' ' + found[3] if found[3] else ''}"
    return ""


class _Reading:
    """One text being read. ``place``: how far it has come. ``problems``: what can be told together."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.place = Place(file, 1, 1)
        self.problems: list[Problem] = []
        self.events = self._allowed(yaml.parse(text, Loader=yaml.SafeLoader))

    def document(self, path: str) -> YamlNode:
        """The one document."""
        first = next(self.events, None)
        if first is None:
            return YamlNode(None, Place(self.file, 1, 1), path)
        node = self._node(first, path)
        next(self.events, None)  # to the end: a second document is refused
        return node

    def _allowed(self, events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
        """Events of values; refuses what the subset leaves out."""
        depth = documents = 0
        grown = growth(self.file)
        max_values, max_depth = MAX_VALUES * grown, MAX_DEPTH if grown == 1 else RESOLVED_DEPTH
        for values, event in enumerate(events):
            self.place = place = _place(self.file, event.start_mark)
            if anchor := getattr(event, "anchor", None):
                sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
                raise ConfigError.of(f"anchors and aliases are not read (got {sign}{anchor})",
                                     "Use blocks: for what repeats.", place)  # fmt: skip
            if tag := getattr(event, "tag", None):
                raise ConfigError.of(f"tags are not read (got {tag})", "Write the plain value.", place)
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise ConfigError.of("a second document begins", "One file is one config.", place)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > max_depth:
                raise ConfigError.of(f"nested more than {max_depth} deep", place=place)
            if values > max_values:
                raise ConfigError.of(f"holds more than {max_values:,} values", "Keep data in files.", place)
            if isinstance(event, (yaml.NodeEvent, yaml.CollectionEndEvent)):
                yield event

    def _node(self, event: yaml.Event, path: str) -> YamlNode:
        place = self.place
        if isinstance(event, yaml.ScalarEvent):
            return YamlNode(self._scalar(event, path), place, path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[YamlNode] = []
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self._node(event, f"{path}[{len(items)}]"))
            return YamlNode(items, place, path)
        values: dict[str, YamlNode] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, keys, path)
            keys[key] = self.place
            values[key] = self._node(next(self.events), f"{path}.{key}" if path else key)
        return YamlNode(values, place, path, keys)

    def _key(self, event: yaml.Event, keys: dict[str, Place], path: str) -> str:
        """A key's text. ``keys``: those before it."""
        if not isinstance(event, yaml.ScalarEvent) or len(event.value) > MAX_KEY:
            what = f"of at most {MAX_KEY} characters" if isinstance(event, yaml.ScalarEvent) else "text"
            raise ConfigError.of(f"a key must be {what}", place=self.place, path=path)
        if event.value in keys:
            twice = f"the key '{event.value}' stands twice (first on line {keys[event.value].line})"
            self.problems.append(Problem(twice, self.place, path, "Keep one."))
        return str(event.value)

    def _scalar(self, event: yaml.ScalarEvent, path: str) -> Any:
        text, problem = event.value, ""
        value, digits = text if event.style else scalar(text), len(text.lstrip("+-"))
        if event.style is None and _INTEGER.fullmatch(text) and digits > MAX_DIGITS:
            problem = f"a whole number of {digits} digits is out of range"
        elif isinstance(value, float) and math.isinf(value) and text not in _LITERALS:
            problem = f"{text[:40]} is out of range"
        elif isinstance(value, str) and (odd := re.search("[\ud800-\udfff]", value)):
            problem = f"holds half a character (U+{ord(odd[0]):04X})"
        if problem:
            self.problems.append(Problem(problem, self.place, path))
        return value


def scalar(text: str) -> Any:
    """What plain, unquoted text stands for: nothing, true or false, a number, or itself."""
    if text in _LITERALS:
        return _LITERALS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text.lstrip("+-")) <= MAX_DIGITS else 0
    return float(text) if _FLOAT.fullmatch(text) else text


def _place(file: str, mark: Any) -> Place:
    return Place(file, mark.line + 1, mark.column + 1)
