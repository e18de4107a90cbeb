"""Layers to nodes: names, inputs, shapes, costs and receptive fields. Nothing is allocated, no device is touched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cnncli.errors import Location, ShapeError
from cnncli.layers import Composite, Entries, Entry, Layer, Resolved, Shape, Weight
from cnncli.layers.composites import Block
from cnncli.receptive_field import Field
from cnncli.spec import did_you_mean

INPUT = "input"
UNKNOWN = ""  # in place of a node behind a layer that does not fit: its shape is not known
FLOAT_BYTES = 4
MAX_LAYERS = 20_000
MAX_MISFITS = 25  # more would not fit on a screen, and each takes a search for a hint
MAX_SIZE = 1 << 40  # values of an output, pixels between two of its places: more is a mistake


@dataclass(frozen=True)
class Node:
    """One layer at its place in the network, with what its input's shape resolved it to.

    ``location``: where its entry stands in the list of layers.
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    in_shapes: tuple[Shape, ...]
    resolved: Resolved
    field: Field
    location: Location

    @property
    def shape(self) -> Shape:
        """Shape of the output."""
        return self.resolved.shape

    @property
    def weights(self) -> dict[str, Weight]:
        """The declared arrays by name."""
        return self.resolved.weights

    @property
    def macs(self) -> int:
        """Multiply-adds per example."""
        return self.resolved.macs

    @property
    def params(self) -> int:
        """Number of parameters, running statistics not counted."""
        return sum(weight.size for weight in self.weights.values() if not weight.state)

    @property
    def trainable_params(self) -> int:
        """Number of parameters that training changes."""
        return sum(weight.size for weight in self.weights.values() if weight.trainable and not weight.state)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the output of one example in float32."""
        return math.prod(self.shape) * FLOAT_BYTES


@dataclass(frozen=True)
class Head:
    """An auxiliary classifier: ``end`` is its last node, ``weight`` its share of the training loss."""

    end: str
    weight: float
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A network: its input's shape, its nodes, each after its inputs, and its auxiliary heads.

    Nodes of auxiliary heads (``aux``) take part in training only and are not counted in the totals.
    """

    input_shape: Shape
    main: tuple[Node, ...]
    aux: tuple[Node, ...] = ()
    heads: tuple[Head, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes: the network's, then the auxiliary heads'."""
        return self.main + self.aux

    @property
    def output(self) -> Node:
        """The last node of the network."""
        return self.main[-1]

    @property
    def params(self) -> int:
        """Number of parameters of the network, auxiliary heads left out."""
        return sum(node.params for node in self.main)

    @property
    def trainable_params(self) -> int:
        """Number of parameters that training changes."""
        return sum(node.trainable_params for node in self.main)

    @property
    def macs(self) -> int:
        """Multiply-adds of one forward pass of one example."""
        return sum(node.macs for node in self.main)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all outputs of one example in float32."""
        return sum(node.activation_bytes for node in self.main)

    def weights(self) -> Iterator[tuple[str, str, Weight]]:
        """(node, name, weight) of every declared array, in reading order."""
        for node in self.nodes:
            for name, weight in node.weights.items():
                yield node.name, name, weight


@dataclass(frozen=True)
class Misfit:
    """Why a layer does not fit its place. ``part``: the key that is wrong, where it is ``from`` or ``name``."""

    location: Location
    message: str
    hint: str = ""
    part: str = ""


class GraphError(ValueError):
    """All the misfits of a network."""

    def __init__(self, misfits: list[Misfit]) -> None:
        super().__init__("; ".join(misfit.message for misfit in misfits))
        self.misfits = misfits


def build(entries: Entries, input_shape: Shape) -> Graph:
    """Wire ``entries`` behind an input of ``input_shape``. GraphError lists every layer that does not fit."""
    builder = _Builder(input_shape)
    builder.run(entries, INPUT)
    if builder.misfits:
        raise GraphError(builder.misfits)
    side = {name for head in builder.heads for name in head.nodes}
    main = tuple(node for name, node in builder.nodes.items() if name not in side)
    aux = tuple(node for name, node in builder.nodes.items() if name in side)
    return Graph(input_shape, main, aux, tuple(builder.heads))


@dataclass
class _Builder:
    """Adds nodes to a graph, layer by layer. ``names``: for each list being wired, what ``from:`` can name."""

    input_shape: Shape
    nodes: dict[str, Node] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)
    names: list[dict[str, str]] = field(default_factory=lambda: [{INPUT: INPUT}])
    counters: dict[tuple[str, str], int] = field(default_factory=dict)
    prefix: str = ""
    location: Location = ()
    composite: Composite | None = None
    heads: list[Head] = field(default_factory=list)
    entries: int = 0

    def head(self, entries: Entries, x: str, weight: float) -> None:
        """Entries that end in an auxiliary classifier, trained with ``weight`` and left out afterwards."""
        before, end = len(self.nodes), self.run(entries, x)
        if end != UNKNOWN:
            self.heads.append(Head(end, weight, tuple(self.nodes)[before:]))

    def run(self, entries: Entries, x: str) -> str:
        """Entries in order; ``from`` reaches back to names of this list and of those around it."""
        outer = self.location
        here = (*outer, *_place_of(entries, self.composite))
        self.names.append({})
        for index, entry in enumerate(entries):
            self.location = (*here, index)
            x = self._entry(entry, x)
        self.names.pop()
        self.location = outer
        return x

    def layer(self, layer: Layer, *inputs: str) -> str:
        """One layer of a composite's own, named by its kind."""
        return self._add(layer, self.prefix + self._count(layer), inputs)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names inside begin with ``name.``."""
        before, self.prefix = self.prefix, f"{self.prefix}{name}."
        try:
            yield
        finally:
            self.prefix = before

    def _entry(self, entry: Entry, x: str) -> str:
        self.entries += 1
        if self.entries > MAX_LAYERS:  # a repeat inside a repeat inside a repeat: end it here
            self._misfit(f"the network has more than {MAX_LAYERS:,} layers", "Check the numbers of repeat.")
            raise GraphError(self.misfits)
        layer, inputs = entry.layer, [self._find(name) for name in entry.sources] or [x]
        if not self._inputs_fit(entry):
            inputs = [UNKNOWN]
        elif partner := layer.partner():
            layer, inputs = self._bind(layer, self._find(partner), inputs[0])
        if entry.name is not None and (entry.name == INPUT or entry.name in self.names[-1]):
            self._misfit(f"the name '{entry.name}' is taken in this list", "Give each layer its own.", "name")
        name = entry.name or self._count(layer)
        if isinstance(layer, Composite):
            end = self._compose(layer, name, inputs[0])
        else:
            end = self._add(layer, self.prefix + name, tuple(inputs))
        self.names[-1][name] = end
        return end

    def _inputs_fit(self, entry: Entry) -> bool:
        layer, count = entry.layer, len(entry.sources)
        if count > 1 and not layer.joins:
            self._misfit(f"{layer.kind} takes one input, got {count}: {', '.join(entry.sources)}",
                         "Join them first with concat or add.")  # fmt: skip
        elif count < 2 and layer.joins:
            self._misfit(f"{layer.kind} joins several inputs, got {count or 'none'}", "Give it from: [a, b].")
        else:
            return True
        return False

    def _bind(self, layer: Layer, partner: str, x: str) -> tuple[Layer, list[str]]:
        """A layer that needs an earlier one (max_unpool): it sees that one's settings and its input."""
        if partner not in self.nodes:
            if partner == INPUT:
                self._misfit(f"{layer.kind} needs a layer, not the input")
            return layer, [UNKNOWN]
        node = self.nodes[partner]
        try:
            return layer.bind(node.layer), [x, node.inputs[0]]
        except ShapeError as error:
            self._misfit(str(error), error.hint)
            return layer, [UNKNOWN]

    def _compose(self, layer: Composite, name: str, x: str) -> str:
        before, self.composite = self.composite, layer
        try:
            with self.scope(name):
                return layer.wire(self, x)
        except ShapeError as error:
            self._misfit(str(error), error.hint)
            return UNKNOWN
        finally:
            self.composite = before

    def _add(self, layer: Layer, name: str, inputs: tuple[str, ...]) -> str:
        if UNKNOWN in inputs:
            return UNKNOWN
        shapes = tuple(self.input_shape if each == INPUT else self.nodes[each].shape for each in inputs)
        try:
            resolved = layer.resolve(*shapes)
        except ShapeError as error:
            self._misfit(str(error), error.hint)
            return UNKNOWN
        field = self._joined(inputs, shapes).through(resolved.window)
        sizes = (math.prod(resolved.shape), *field.size, *field.jump)
        if not all(1 / MAX_SIZE < size < MAX_SIZE for size in sizes):
            self._misfit("its output, or what that sees of the input, is larger than can be counted with",
                         "Check sizes, strides and the numbers of repeat.")  # fmt: skip
            return UNKNOWN
        self.nodes[name] = Node(name, layer, inputs, shapes, resolved, field, self.location)
        return name

    def _joined(self, inputs: tuple[str, ...], shapes: tuple[Shape, ...]) -> Field:
        start = Field.of_input(len(self.input_shape) - 1)
        fields = [start if each == INPUT else self.nodes[each].field for each in inputs]
        return Field.union(fields, main=max(range(len(shapes)), key=lambda index: len(shapes[index])))

    def _count(self, layer: Layer) -> str:
        kind = layer.of if isinstance(layer, Block) else layer.kind
        while True:
            number = self.counters[self.prefix, kind] = self.counters.get((self.prefix, kind), 0) + 1
            if f"{kind}{number}" not in self.names[-1]:
                return f"{kind}{number}"

    def _find(self, name: str) -> str:
        for names in reversed(self.names):
            if name in names:
                return names[name]
        known = sorted({known for names in self.names for known in names})
        self._misfit(f"from: there is no earlier layer '{name}'", did_you_mean(name, known), "from")
        return UNKNOWN

    def _misfit(self, message: str, hint: str = "", part: str = "") -> None:
        misfit = Misfit(self.location, message, hint, part)
        if misfit not in self.misfits:  # a repeat's copies fail alike
            self.misfits.append(misfit)
        if len(self.misfits) == MAX_MISFITS:
            raise GraphError(self.misfits)


def _place_of(entries: Entries, composite: Composite | None) -> Location:
    """Where a composite keeps this list: ``("block", "layers")``, ``("branches", "paths", 1)``."""
    if composite is None:
        return ()
    for name in type(composite).model_fields:
        value = getattr(composite, name)
        if value is entries:
            return (composite.kind, name)
        if isinstance(value, tuple):
            for index, item in enumerate(value):
                if item is entries:
                    return (composite.kind, name, index)
    return ()
