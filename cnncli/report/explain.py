"""``cnn inspect --explain``: every number of the table with its formula and the numbers put in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cnncli.config.load import Loaded
from cnncli.errors import ConfigError
from cnncli.graph import INPUT, Graph, Node
from cnncli.layers.base import times
from cnncli.receptive_field import Field
from cnncli.report.tables import table
from cnncli.sliding import Sliding
from cnncli.spec import did_you_mean


def document(loaded: Loaded, name: str | None) -> dict[str, Any]:
    """Formulas of every layer, or of the one named; and what its weights would cost unshared."""
    graph = loaded.graph
    nodes = graph.main if name is None else [_find(graph, name)]
    sharing = [row for node in nodes if (row := _sharing(node))]
    return {"name": loaded.config.name, "layers": [explain(graph, node) for node in nodes], "weight_sharing": sharing}


def _find(graph: Graph, name: str) -> Node:
    known = {node.name: node for node in graph.nodes}
    if name not in known:
        raise ConfigError.of(f"the network has no layer '{name}'", did_you_mean(name, list(known)))
    return known[name]


def explain(graph: Graph, node: Node) -> dict[str, Any]:
    """One layer's formulas: ``output``, ``params``, ``macs``, ``receptive_field``: a text each, empty for nothing."""
    return {
        "name": node.name,
        "kind": node.layer.kind,
        "inputs": [f"{name} {times(shape)}" for name, shape in zip(node.inputs, node.in_shapes, strict=True)],
        "output": _output(node),
        "params": _params(node),
        "macs": _macs(node),
        "receptive_field": _receptive_field(graph, node),
    }


def _output(node: Node) -> str:
    sliding = _sliding(node)
    if sliding is None:
        joined = " and ".join(map(times, node.in_shapes))
        return f"{joined} -> {times(node.shape)}"
    axes = []
    for axis, (n, k, s, d, (before, after), out) in enumerate(
        zip(
            node.in_shapes[0],
            sliding.size,
            sliding.stride,
            sliding.dilation,
            sliding.padding,
            sliding.out,
            strict=False,
        )
    ):
        span = f"{d}*({k} - 1) - 1" if d > 1 else f"{k}"
        word = ("height", "width")[axis] if len(sliding.out) == 2 else "length"
        axes.append(f"{word} floor(({n} + {before} + {after} - {span}) / {s}) + 1 = {out}")
    if len(axes) == 2 and axes[0].split(" ", 1)[1] == axes[1].split(" ", 1)[1]:
        axes = [f"height and width {axes[0].split(' ', 1)[1]}"]
    return f"{'; '.join(axes)}; channels {node.shape[-1]}"


def _params(node: Node) -> str:
    counted = [(name, weight) for name, weight in node.weights.items() if not weight.state]
    if not counted:
        return ""
    parts = [f"{name} {'*'.join(map(str, weight.shape))}" + (f" = {weight.size:,}" if len(weight.shape) > 1 else "")
             for name, weight in counted]  # fmt: skip
    total = f"  sum {node.params:,}" if len(parts) > 1 else ""
    return " + ".join(parts) + total


def _macs(node: Node) -> str:
    if not node.macs:
        return ""
    outputs = math.prod(node.shape)
    each, rest = divmod(node.macs, outputs)
    if rest:
        return f"{node.macs:,}"
    shape = f"{times(node.shape)} = " if len(node.shape) > 1 else ""
    return f"{shape}{outputs:,} outputs * {each:,} each = {node.macs:,}"


def _receptive_field(graph: Graph, node: Node) -> str:
    window, axes = node.resolved.window, len(graph.input_shape) - 1
    if not axes or not node.field.size:
        return ""
    fields = [_field(graph, name) for name in node.inputs]
    if len(fields) > 1:
        return f"the union of {', '.join(times(field.size) for field in fields)} = {times(node.field.size)}"
    before = fields[0]
    if not window.size or all(size == 1 for size in window.size):
        return f"{times(node.field.size)}, as before"
    words = [
        f"{r} + ({k} - 1)*{f'{d}*' if d > 1 else ''}{j} = {after}"
        for r, k, d, j, after in zip(
            before.size, window.size, window.dilation, before.jump, node.field.size, strict=True
        )
    ]
    steps = ", ".join(str(jump) for jump in dict.fromkeys(node.field.jump))
    return f"{' by '.join(dict.fromkeys(words))}; neighbours see {steps} {'pixel' if steps == '1' else 'pixels'} apart"


def _field(graph: Graph, name: str) -> Field:
    known = {node.name: node.field for node in graph.nodes}
    return Field.of_input(len(graph.input_shape) - 1) if name == INPUT else known[name]


def _sliding(node: Node) -> Sliding | None:
    sliding = node.resolved.sliding
    return sliding if sliding.out and not sliding.transposed else None


def _sharing(node: Node) -> dict[str, Any] | None:
    """A convolution's parameters beside those of the same map without sharing, and of full connection."""
    kernel = node.weights.get("kernel")
    sliding = _sliding(node)
    if kernel is None or sliding is None or node.layer.kind != "conv" or len(kernel.shape) != len(sliding.size) + 2:
        return None
    positions, filters = math.prod(sliding.out), node.shape[-1]
    inputs, outputs = math.prod(node.in_shapes[0]), math.prod(node.shape)
    bias = int("bias" in node.weights)
    return {
        "name": node.name,
        "shared": node.params,
        "locally_connected": positions * (kernel.size + bias * filters),
        "fully_connected": inputs * outputs + bias * outputs,
        "formulas": {
            "shared": f"{_product(kernel.shape)}{f' + {filters}' if bias else ''}",
            "locally_connected": f"{positions} positions * ({_product(kernel.shape)}{f' + {filters}' if bias else ''})",
            "fully_connected": f"{inputs} inputs * {outputs} outputs{f' + {outputs}' if bias else ''}",
        },
    }


def _product(numbers: Sequence[int]) -> str:
    return "*".join(map(str, numbers))


def rendered(found: dict[str, Any]) -> RenderableType:
    """The document as text: a paragraph per layer, then the weight-sharing table."""
    parts: list[RenderableType] = []
    for layer in found["layers"]:
        parts.append(Text.assemble((layer["name"], "bold"), f"  {layer['kind']}  behind {', '.join(layer['inputs'])}"))
        for key, word in (
            ("output", "output"),
            ("params", "parameters"),
            ("macs", "mult-adds"),
            ("receptive_field", "sees"),
        ):
            if layer[key]:
                parts.append(Text(f"    {word:<11} {layer[key]}"))
    if found["weight_sharing"]:
        parts += [Text(""), Text("What sharing weights saves: the same maps, with parameters", style="bold"),
                  _sharing_table(found["weight_sharing"])]  # fmt: skip
    return Group(*parts)


def _sharing_table(rows: Sequence[dict[str, Any]]) -> RenderableType:
    made = table("layer", "shared (conv)", "a kernel per position", "fully connected")
    for row in rows:
        made.add_row(row["name"], *(f"{row[key]:,}" for key in ("shared", "locally_connected", "fully_connected")))
        made.add_row(
            "", *(Text(row["formulas"][key], style="dim") for key in ("shared", "locally_connected", "fully_connected"))
        )
    return made
