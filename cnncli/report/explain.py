"""``cnn inspect --explain``: every number of the table with its formula."""

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
from cnncli.report.console import dim
from cnncli.report.tables import make_table
from cnncli.sliding import Sliding
from cnncli.spec import did_you_mean

LABELS = {"output": "output", "params": "parameters", "macs": "mult-adds", "receptive_field": "sees"}


def document(loaded: Loaded, name: str | None) -> dict[str, Any]:
    """Formulas of every layer, or of the one named; and the parameters of convolutions without weight sharing."""
    graph = loaded.graph
    nodes = graph.main if name is None else [_find(graph, name)]
    sharing = [row for node in nodes if (row := _sharing(node))]
    return {"name": loaded.config.name, "layers": [_layer(graph, node) for node in nodes], "weight_sharing": sharing}


def _find(graph: Graph, name: str) -> Node:
    nodes = {node.name: node for node in graph.nodes}
    if name not in nodes:
        raise ConfigError.of(f"the network has no layer '{name}'", did_you_mean(name, list(nodes)))
    return nodes[name]


def _layer(graph: Graph, node: Node) -> dict[str, Any]:
    """The formulas of one layer as texts, empty where there is nothing to compute."""
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
        return f"{' and '.join(map(times, node.in_shapes))} -> {times(node.shape)}"
    formulas = []
    for axis, out in enumerate(sliding.out):
        n, k, s, d = node.in_shapes[0][axis], sliding.size[axis], sliding.stride[axis], sliding.dilation[axis]
        before, after = sliding.padding[axis]
        span = f"{d}*({k} - 1) - 1" if d > 1 else f"{k}"
        formulas.append(f"floor(({n} + {before} + {after} - {span}) / {s}) + 1 = {out}")
    if len(formulas) != 2:
        sizes = f"length {formulas[0]}"
    elif formulas[0] == formulas[1]:
        sizes = f"height and width {formulas[0]}"
    else:
        sizes = f"height {formulas[0]}; width {formulas[1]}"
    return f"{sizes}; channels {node.shape[-1]}"


def _params(node: Node) -> str:
    parts = [f"{name} {_product(weight.shape)}" + (f" = {weight.size:,}" if len(weight.shape) > 1 else "")
             for name, weight in node.weights.items() if not weight.state]  # fmt: skip
    return " + ".join(parts) + (f"  sum {node.params:,}" if len(parts) > 1 else "")


def _macs(node: Node) -> str:
    if not node.macs:
        return ""
    outputs = math.prod(node.shape)
    per_output, remainder = divmod(node.macs, outputs)
    if remainder:
        return f"{node.macs:,}"
    shape = f"{times(node.shape)} = " if len(node.shape) > 1 else ""
    return f"{shape}{outputs:,} outputs * {per_output:,} each = {node.macs:,}"


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
    axes_of = zip(before.size, window.size, window.dilation, before.jump, node.field.size, strict=True)
    formulas = [f"{r} + ({k} - 1)*{f'{d}*' if d > 1 else ''}{j} = {after}" for r, k, d, j, after in axes_of]
    jumps = dict.fromkeys(node.field.jump)
    unit = "pixel" if list(jumps) == [1] else "pixels"
    return f"{' by '.join(dict.fromkeys(formulas))}; neighbours see {', '.join(map(str, jumps))} {unit} apart"


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
    kernel_formula = _product(kernel.shape) + (f" + {filters}" if bias else "")
    return {
        "name": node.name,
        "shared": node.params,
        "locally_connected": positions * (kernel.size + bias * filters),
        "fully_connected": inputs * outputs + bias * outputs,
        "formulas": {
            "shared": kernel_formula,
            "locally_connected": f"{positions} positions * ({kernel_formula})",
            "fully_connected": f"{inputs} inputs * {outputs} outputs" + (f" + {outputs}" if bias else ""),
        },
    }


def _product(numbers: Sequence[int]) -> str:
    return "*".join(map(str, numbers))


def rendered(document: dict[str, Any]) -> RenderableType:
    """The document as text: a paragraph per layer, then a table of what weight sharing saves."""
    parts: list[RenderableType] = []
    for layer in document["layers"]:
        parts.append(Text.assemble((layer["name"], "bold"), f"  {layer['kind']}  behind {', '.join(layer['inputs'])}"))
        parts += [Text(f"    {label:<11} {layer[key]}") for key, label in LABELS.items() if layer[key]]
    if document["weight_sharing"]:
        table = make_table("layer", "shared (conv)", "a kernel per position", "fully connected")
        for row in document["weight_sharing"]:
            table.add_row(row["name"], *(f"{row[key]:,}" for key in row["formulas"]))
            table.add_row("", *(dim(formula) for formula in row["formulas"].values()))
        title = Text("What sharing weights saves: the same maps, with parameters", style="bold")
        parts += [Text(""), title, table]
    return Group(*parts)
