"""``cnn inspect`` as plain data: the document other programs rely on."""

from __future__ import annotations

from typing import Any

from cnncli.config.load import Loaded
from cnncli.graph import Node


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
