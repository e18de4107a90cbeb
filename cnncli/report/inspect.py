"""``cnn inspect``: shapes and costs of every layer, as a document for other programs and as a table."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.text import Text

from cnncli.config.load import Loaded
from cnncli.graph import Node
from cnncli.layers.base import times
from cnncli.report.console import dim
from cnncli.report.tables import make_table
from cnncli.report.text import bytes_text, count_text

MAX_ROWS = 1_000  # layers, since Rich takes half a millisecond for each; of more, the first and the last half of these


def document(loaded: Loaded) -> dict[str, Any]:
    """Layers in reading order, and their totals. Sizes are per example, bytes in float32."""
    graph = loaded.graph
    return {
        "name": loaded.config.name,
        "input": list(graph.input_shape),
        "layers": [_layer(node, loaded.line(node.location)) for node in graph.main],
        "totals": {
            "params": graph.params,
            "trainable_params": graph.trainable_params,
            "macs": graph.macs,
            "activation_bytes": graph.activation_bytes,
        },
    }


def _layer(node: Node, line: int | None) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.layer.kind,
        "line": line,
        "inputs": list(node.inputs),
        "output_shape": list(node.shape),
        "params": node.params,
        "macs": node.macs,
        "activation_bytes": node.activation_bytes,
        "receptive_field": list(node.field.size),
        "jump": [int(jump) if jump == int(jump) else float(jump) for jump in node.field.jump],
    }


def rendered(document: dict[str, Any]) -> Group:
    """The document as a table, a row per layer and one for the sum, and a line that says what the columns mean."""
    table = make_table("layer", "kind", "output", "parameters", "mult-adds", "memory", "sees", left=2)
    table.add_row("input", "", times(document["input"]), "", "", "", "")
    layers, half = document["layers"], MAX_ROWS // 2
    for layer in layers if len(layers) <= MAX_ROWS else [*layers[:half], None, *layers[-half:]]:
        if layer is None:
            table.add_row(Text(f"... {len(layers) - MAX_ROWS:,} more: --json has all"))
            continue
        table.add_row(
            Text(layer["name"]), layer["kind"], times(layer["output_shape"]),
            f"{layer['params']:,}" if layer["params"] else "",
            count_text(layer["macs"]) if layer["macs"] else "", bytes_text(layer["activation_bytes"]),
            times(layer["receptive_field"]),
        )  # fmt: skip
    totals = document["totals"]
    costs = f"{totals['params']:,}", count_text(totals["macs"]), bytes_text(totals["activation_bytes"])
    table.add_section()
    table.add_row("total", "", "", *costs, "")
    frozen = totals["params"] - totals["trainable_params"]
    legend = "mult-adds and memory (outputs, float32) are per example; sees: pixels of the input behind one output"
    return Group(table, dim(legend + (f"; {frozen:,} of the parameters are not trained" if frozen else "")))
