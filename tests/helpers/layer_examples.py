"""The example in each layer's docstring, parsed. Without JAX: static work must not need it."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass

from cnncli.config.reader import read_value
from cnncli.layers import LAYERS, Composite, Entry, Layer, Resolved
from cnncli.layers.pool import MaxPool

EXAMPLE = re.compile(r"Example: `(.+?)`  ((?:\([\d, ]+\)(?:, )?)+) -> (\([\d, ]+\)), (\d+) parameters")


@dataclass(frozen=True)
class Example:
    """What a docstring claims: this YAML turns inputs of ``shapes`` into ``out`` with ``params`` parameters."""

    entry: Entry
    shapes: tuple[tuple[int, ...], ...]
    out: tuple[int, ...]
    params: int

    @property
    def layer(self) -> Layer:
        """The layer, knowing its partner where it has one."""
        return self.entry.layer.bind(MaxPool()) if self.entry.layer.partner() else self.entry.layer

    @property
    def composite(self) -> bool:
        """Whether it only connects other layers."""
        return isinstance(self.layer, Composite)

    @property
    def resolved(self) -> Resolved:
        """What the shapes resolve the layer to."""
        return self.layer.resolve(*self.shapes)


def example_of(layer: type[Layer]) -> Example:
    """The example in a layer's docstring."""
    found = EXAMPLE.search(inspect.getdoc(layer) or "")
    assert found, f"{layer.kind} has no example line"
    yaml, shapes, out, params = found.groups()
    entry = Entry.model_validate(read_value(yaml, "example").plain())
    assert type(entry.layer) is layer
    return Example(entry, tuple(ast.literal_eval(f"[{shapes}]")), ast.literal_eval(out), int(params))


EXAMPLES = {layer.kind: example_of(layer) for layer in LAYERS}


def static_work() -> None:
    """Compute what is known of every example without arrays: shapes, weights, multiply-adds, windows."""
    from cnncli.graph import build

    for example in EXAMPLES.values():
        if example.composite:
            build((example.entry,), example.shapes[0])
        else:
            assert example.resolved
