"""A user's own composites: ``blocks:`` with ``$parameters``, written out before anything else looks at the config.

    blocks:
      basic:
        params: [width, stride: 1]
        layers: [{conv: {filters: $width, stride: $stride}}, relu]

``$width`` stands for a whole value; it is never pasted into text and never code. An entry ``basic: {width: 16}`` (or
``basic: 16``, its first parameter) becomes a ``block`` of those layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from cnncli.config.reader import YamlNode
from cnncli.errors import Problem
from cnncli.layers import LAYERS
from cnncli.layers.entry import BESIDE
from cnncli.spec import NAME, describe, did_you_mean

MAX_VALUES = 20_000  # written out
MAX_DEPTH = 128
_TAKEN = {*BESIDE, *(layer.kind for layer in LAYERS)}


@dataclass(frozen=True)
class Definition:
    """One block: its parameters with their defaults (None: must be given) and its layers as written."""

    name: str
    params: dict[str, YamlNode | None]
    layers: YamlNode


def expand_blocks(root: YamlNode) -> tuple[YamlNode, list[Problem]]:
    """The config without ``blocks:``, every use of one written out; and what was wrong."""
    if "blocks" not in root.value:
        return root, []
    problems: list[Problem] = []
    definitions = _definitions(root.value["blocks"], problems)
    sections = {key: node for key, node in root.value.items() if key != "blocks"}
    model = sections.get("model")
    if model and isinstance(model.value, dict) and "layers" in model.value:
        layers = _Writer(definitions, problems).write(model.value["layers"], 0)
        sections["model"] = model.having({**model.value, "layers": layers})
    return root.having(sections), list(dict.fromkeys(problems))


@dataclass
class _Writer:
    """Writes blocks out. ``inside``: the blocks being written, to find one that calls itself."""

    definitions: dict[str, Definition]
    problems: list[Problem]
    inside: list[str] = field(default_factory=list)
    values: int = 0
    stopped: bool = False

    def write(self, node: YamlNode, depth: int) -> YamlNode:
        """``node`` with every use of a block below it written out."""
        self.values += 1
        if depth > MAX_DEPTH or self.values > MAX_VALUES:
            return self._stopped(node, depth)
        if isinstance(node.value, list):
            return node.having([self._item(item, depth + 1) for item in node.value])
        if isinstance(node.value, dict):  # names in from: are layers' names, whatever blocks are called
            written = {key: item if key == "from" else self.write(item, depth + 1) for key, item in node.value.items()}
            return node.having(written)
        return node

    def _stopped(self, node: YamlNode, depth: int) -> YamlNode:
        much = f"over {MAX_VALUES:,} values" if depth <= MAX_DEPTH else f"values nested more than {MAX_DEPTH} deep"
        if not self.stopped:
            self.problems.append(node.problem(f"the blocks write out to {much}"))
        self.stopped = True
        return node.having(None)

    def _item(self, item: YamlNode, depth: int) -> YamlNode:
        if self.stopped:
            return item.having(None)
        keys = item.value if isinstance(item.value, dict) else [item.value] if isinstance(item.value, str) else []
        name = next((key for key in keys if key in self.definitions), None)
        return self._use(self.definitions[name], item, depth) if name else self.write(item, depth)

    def _use(self, block: Definition, item: YamlNode, depth: int) -> YamlNode:
        """One use. Beside its arguments the entry may hold a name and from."""
        others = dict(item.value) if isinstance(item.value, dict) else {block.name: item.having(None)}
        given = others.pop(block.name)
        if block.name in self.inside:
            calls = " > ".join([*self.inside, block.name])
            self.problems.append(item.problem(f"the block '{block.name}' calls itself ({calls})"))
            return item.having("flatten")
        note = f"in {block.name}, used on line {item.place.line}" if item.place.line else f"in {block.name}"
        body = _fill(block.layers, self._arguments(block, given, note), note)
        self.inside.append(block.name)
        body = self.write(body, depth + 2)
        self.inside.pop()
        fields = {"layers": body, "of": YamlNode(block.name, item.place, item.path)}
        inner = YamlNode(fields, given.place, given.path, dict.fromkeys(fields, given.place), given.note)
        keys = {**item.keys, "block": item.keys.get(block.name, item.place)}
        return YamlNode({"block": inner, **others}, item.place, item.path, keys, item.note)

    def _arguments(self, block: Definition, given: YamlNode, note: str) -> dict[str, YamlNode]:
        """A value for every parameter: the given one, or the default, which may speak of parameters before it."""
        values = self._named(block, given)
        for key in (key for key in values if key not in block.params):
            hint = did_you_mean(key, list(block.params)) or "It takes none."
            self.problems.append(given.problem(f"{block.name} has no parameter '{key}'", hint, given.keys.get(key)))
        arguments: dict[str, YamlNode] = {}
        for key, default in block.params.items():
            if key in values:
                arguments[key] = values[key]
            elif default is not None:
                arguments[key] = _fill(default, arguments, note)
            else:
                self.problems.append(given.problem(f"{block.name} needs {key}"))
                arguments[key] = given.having(None)
        return arguments

    def _named(self, block: Definition, given: YamlNode) -> dict[str, YamlNode]:
        """The arguments by name: one value by itself is the first parameter's."""
        if given.value is None or isinstance(given.value, dict):
            return given.value or {}
        if block.params:
            return {next(iter(block.params)): given}
        self.problems.append(given.problem(f"{block.name} takes no parameters, got {describe(given.value)}"))
        return {}


def _fill(node: YamlNode, arguments: dict[str, YamlNode], note: str) -> YamlNode:
    """A copy of a block's body with arguments for ``$parameters``."""
    if isinstance(node.value, str) and node.value.startswith("$") and node.value[1:] in arguments:
        argument = arguments[node.value[1:]]
        return argument.having(argument.value, note)
    if isinstance(node.value, list):
        return node.having([_fill(item, arguments, note) for item in node.value], note)
    if isinstance(node.value, dict):
        return node.having({key: _fill(item, arguments, note) for key, item in node.value.items()}, note)
    return node.having(node.value, note)


def _definitions(blocks: YamlNode, problems: list[Problem]) -> dict[str, Definition]:
    if not isinstance(blocks.value, dict):
        what = f"expected a mapping of blocks, got {describe(blocks.value)}"
        problems.append(blocks.problem(what, "Write blocks: {name: {params: [...], layers: [...]}}."))
        return {}
    found = [_definition(name, node, blocks, problems) for name, node in blocks.value.items()]
    return {block.name: block for block in found if block}


def _definition(name: str, node: YamlNode, blocks: YamlNode, problems: list[Problem]) -> Definition | None:
    place = blocks.keys[name]
    if not re.fullmatch(NAME, name) or name in _TAKEN:
        what = "is a word of its own" if name in _TAKEN else "is not a name"
        problems.append(node.problem(f"'{name}' {what}", "Choose another name.", place))
        return None
    if not isinstance(node.value, dict) or "layers" not in node.value:
        problems.append(node.problem("a block needs layers", "Write {params: [...], layers: [...]}.", place))
        return None
    for key in (key for key in node.value if key not in ("params", "layers")):
        problems.append(node.problem(f"unknown key '{key}'", did_you_mean(key, ["params", "layers"]), node.keys[key]))
    params = _params(node.value.get("params"), problems)
    if params is None:
        return None
    for unknown in _unknown_parameters(node.value["layers"], list(params)):
        hint = did_you_mean(unknown.value[1:], list(params)) or "Declare it in params: [...]."
        problems.append(unknown.problem(f"the block '{name}' has no parameter {unknown.value}", hint))
    return Definition(name, params, node.value["layers"])


def _params(node: YamlNode | None, problems: list[Problem]) -> dict[str, YamlNode | None] | None:
    """The parameters: ``width`` must be given, ``stride: 1`` has a default."""
    params: dict[str, YamlNode | None] = {}
    if node is None or node.value is None:
        return params
    if not isinstance(node.value, list):
        what = f"expected a list of parameters, got {describe(node.value)}"
        problems.append(node.problem(what, "Write params: [width, stride: 1]."))
        return None
    for item in node.value:
        pairs = item.value.items() if isinstance(item.value, dict) else [(item.value, None)]
        for key, default in pairs:
            if not isinstance(key, str) or not re.fullmatch(NAME, key) or key in params:
                problems.append(item.problem(f"not a new parameter's name: {describe(key)}"))
                continue
            for unknown in _unknown_parameters(default, list(params)) if default else ():
                problems.append(unknown.problem(f"there is no parameter {unknown.value} before {key}"))
            params[key] = default
    return params


def _unknown_parameters(node: YamlNode, params: list[str]) -> Iterator[YamlNode]:
    """Every ``$word`` below ``node`` that is no parameter."""
    if isinstance(node.value, str) and node.value.startswith("$") and node.value[1:] not in params:
        yield node
    for child in node.children():
        yield from _unknown_parameters(child, params)
