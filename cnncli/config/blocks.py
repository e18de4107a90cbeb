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
from dataclasses import dataclass, field, replace

from cnncli.config.reader import Node
from cnncli.errors import Problem
from cnncli.layers import LAYERS
from cnncli.spec import describe, did_you_mean

MAX_NODES = 200_000
_NAME = re.compile(r"[^\W\d][\w-]*")


@dataclass(frozen=True)
class Definition:
    """One block: its parameters with their defaults (None: must be given) and its layers as written."""

    name: str
    params: dict[str, Node | None]
    layers: Node


@dataclass
class _Writer:
    """Writes blocks out; ``inside``: the blocks being written, to find one that calls itself."""

    definitions: dict[str, Definition]
    problems: list[Problem]
    inside: list[str] = field(default_factory=list)
    size: int = 0

    def write(self, node: Node) -> Node:
        """``node`` with every use of a block below it written out."""
        self.size += 1
        if self.size > MAX_NODES:
            return node
        if isinstance(node.value, list):
            return replace(node, value=[self._item(item) for item in node.value])
        if isinstance(node.value, dict):
            return replace(node, value={key: self.write(item) for key, item in node.value.items()})
        return node

    def _item(self, item: Node) -> Node:
        if isinstance(item.value, str) and item.value in self.definitions:
            return self._use(self.definitions[item.value], item, item, {})
        if isinstance(item.value, dict):
            for key in item.value:
                if key in self.definitions:
                    others = {name: node for name, node in item.value.items() if name != key}
                    return self._use(self.definitions[key], item, item.value[key], others)
        return self.write(item)

    def _use(self, block: Definition, item: Node, given: Node, others: dict[str, Node]) -> Node:
        """One use: ``given`` holds the arguments, ``others`` the entry's name and from."""
        if block.name in self.inside:
            chain = " > ".join([*self.inside, block.name])
            self._problem(item, f"the block '{block.name}' calls itself ({chain})")
            return replace(item, value="flatten")
        arguments = self._arguments(block, given)
        note = f" (in {block.name}, used on line {item.place.line})" if item.place.line else f" (in {block.name})"
        body = _fill(block.layers, arguments, note)
        self.inside.append(block.name)
        body = self.write(body)
        self.inside.pop()
        fields = {"layers": body, "of": Node(block.name, item.place, item.path)}
        inner = replace(given, value=fields, keys=dict.fromkeys(fields, given.place))
        value = {"block": inner, **others}
        return replace(item, value=value, keys={**item.keys, "block": item.place})

    def _arguments(self, block: Definition, given: Node) -> dict[str, Node]:
        values = given.value
        if values is None or values == block.name:
            values = {}
        elif not isinstance(values, dict):
            if not block.params:
                self._problem(given, f"{block.name} takes no parameters, got {describe(given.plain())}")
                return {}
            values = {next(iter(block.params)): given}
        for key in values:
            if key not in block.params:
                place = given.keys.get(key, given.place)
                hint = did_you_mean(key, list(block.params))
                self.problems.append(Problem(f"{block.name} has no parameter '{key}'", place, given.path, hint))
        arguments = {}
        for key, default in block.params.items():
            value = values.get(key, default)
            if value is None:
                self._problem(given, f"{block.name} needs {key}")
                value = Node(1, given.place, given.path)
            arguments[key] = value
        return arguments

    def _problem(self, node: Node, message: str, hint: str = "") -> None:
        self.problems.append(Problem(message + node.note, node.place, node.path, hint))


def _fill(node: Node, arguments: dict[str, Node], note: str) -> Node:
    """A copy of a block's body with arguments for ``$parameters``."""
    if isinstance(node.value, str) and node.value.startswith("$") and node.value[1:] in arguments:
        return replace(arguments[node.value[1:]], note=note)
    if isinstance(node.value, list):
        return replace(node, value=[_fill(item, arguments, note) for item in node.value], note=note)
    if isinstance(node.value, dict):
        return replace(node, value={key: _fill(item, arguments, note) for key, item in node.value.items()}, note=note)
    return replace(node, note=note)


def expand_blocks(root: Node) -> tuple[Node, list[Problem]]:
    """The config without ``blocks:``, every use of one written out; and what was wrong."""
    if not isinstance(root.value, dict) or "blocks" not in root.value:
        return root, []
    problems: list[Problem] = []
    definitions = _definitions(root.value["blocks"], problems)
    sections = {key: node for key, node in root.value.items() if key != "blocks"}
    model = sections.get("model")
    if model and isinstance(model.value, dict) and "layers" in model.value:
        writer = _Writer(definitions, problems)
        layers = writer.write(model.value["layers"])
        if writer.size > MAX_NODES:
            problems.append(Problem(f"blocks write out to over {MAX_NODES} values", root.value["blocks"].place, "blocks"))
        sections["model"] = replace(model, value={**model.value, "layers": layers})
    return replace(root, value=sections), list(dict.fromkeys(problems))


def _definitions(blocks: Node, problems: list[Problem]) -> dict[str, Definition]:
    if not isinstance(blocks.value, dict):
        problems.append(Problem(f"expected a mapping of blocks, got {describe(blocks.plain())}", blocks.place, "blocks"))
        return {}
    found = {name: _definition(name, node, blocks, problems) for name, node in blocks.value.items()}
    return {name: block for name, block in found.items() if block}


def _definition(name: str, node: Node, blocks: Node, problems: list[Problem]) -> Definition | None:
    place = blocks.keys[name]
    if not _NAME.fullmatch(name) or name in {layer.kind for layer in LAYERS}:
        what = "is a layer already" if _NAME.fullmatch(name) else "is not a name"
        problems.append(Problem(f"'{name}' {what}", place, node.path, "Choose another name."))
        return None
    if not isinstance(node.value, dict) or "layers" not in node.value:
        problems.append(Problem("a block needs layers", place, node.path, "Write layers: [...] and params: [...]."))
        return None
    for key in node.value:
        if key not in ("params", "layers"):
            hint = did_you_mean(key, ["params", "layers"])
            problems.append(Problem(f"unknown key '{key}'", node.keys[key], node.path, hint))
    params = _params(node.value.get("params"), problems)
    _check_parameters(node.value["layers"], params, name, problems)
    return Definition(name, params, node.value["layers"])


def _params(node: Node | None, problems: list[Problem]) -> dict[str, Node | None]:
    params: dict[str, Node | None] = {}
    if node is None:
        return params
    if not isinstance(node.value, list):
        problems.append(Problem("params is a list", node.place, node.path, "Write params: [width, stride: 1]."))
        return params
    for item in node.value:
        pairs = item.value.items() if isinstance(item.value, dict) else [(item.value, None)]
        for key, default in pairs:
            if not isinstance(key, str) or not _NAME.fullmatch(key) or key in params:
                problems.append(Problem(f"not a new parameter name: {describe(key)}", item.place, item.path))
            else:
                params[key] = default
    return params


def _check_parameters(node: Node, params: dict[str, Node | None], name: str, problems: list[Problem]) -> None:
    """Every ``$word`` in the body is a parameter."""
    if isinstance(node.value, str) and node.value.startswith("$") and node.value[1:] not in params:
        hint = did_you_mean(node.value[1:], list(params)) if params else "Declare it in params: [...]."
        problems.append(Problem(f"the block '{name}' has no parameter {node.value}", node.place, node.path, hint))
    children = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    for child in children:
        _check_parameters(child, params, name, problems)
