"""Composites: layers made of layers. They wire, and have no arithmetic of their own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar, Literal, Protocol

from pydantic import Field, PositiveInt
from typing_extensions import override

from cnncli.errors import ShapeError
from cnncli.layers.base import Layer
from cnncli.layers.entry import Entries, Paths
from cnncli.layers.joins import Add, Concat


class Wiring(Protocol):
    """What adds nodes to a graph: the graph's builder. Nodes are known by name."""

    def run(self, entries: Entries, x: str) -> str:
        """Wire entries one behind the other, starting from node ``x``; the name of the last."""

    def layer(self, layer: Layer, *inputs: str) -> str:
        """Wire one layer behind ``inputs``; its name."""

    def head(self, entries: Entries, x: str, weight: float) -> None:
        """Wire an auxiliary classifier behind ``x``: trained with ``weight``, left out afterwards."""

    def scope(self, name: str) -> AbstractContextManager[None]:
        """Names inside begin with ``name.`` and count for themselves."""


class Composite(Layer):
    """Base class of the layers made of layers."""

    def wire(self, wiring: Wiring, x: str) -> str:
        """Add this layer's nodes behind node ``x``; the name of the node that ends it."""
        raise TypeError(f"{self.kind} wires nothing")


class Block(Composite):
    """Layers one after the other under one name. A user's own block (see `blocks:`) becomes one of these.

    Input -> what its last layer gives.

    Example: `block: [{conv: 6}, relu]`  (8, 8, 3) -> (6, 6, 6), 168 parameters
    """

    shorthand: ClassVar[str | None] = "layers"
    aliases: ClassVar[tuple[str, ...]] = ("sequential", "sequence", "group")

    layers: Entries = Field(description="the layers, in order")
    of: str = Field("block", description="the user's block this came from, for its name", min_length=1)

    @override
    def wire(self, wiring: Wiring, x: str) -> str:
        return wiring.run(self.layers, x)


class Repeat(Composite):
    """The same layers ``times`` times, each with weights of its own; the copies are named 1, 2, 3, ...

    Input -> what the last copy gives.

    Example: `repeat: {times: 2, layers: [{conv: 6}, relu]}`  (8, 8, 6) -> (4, 4, 6), 660 parameters
    """

    times: PositiveInt = Field(le=10_000, description="number of copies")
    layers: Entries = Field(description="the layers of one copy")

    @override
    def wire(self, wiring: Wiring, x: str) -> str:
        for copy in range(1, self.times + 1):
            with wiring.scope(str(copy)):
                x = wiring.run(self.layers, x)
        return x


class Residual(Composite):
    """y = layers(x) + shortcut(x); the shortcut is the input itself unless layers are given for it.

    Input -> the shape both paths agree on. Source: He et al. 2015.

    Example: `residual: [{conv: {filters: 6, padding: same}}, relu]`  (8, 8, 6) -> (8, 8, 6), 330 parameters
    """

    shorthand: ClassVar[str | None] = "layers"
    aliases: ClassVar[tuple[str, ...]] = ("skip", "resblock", "residual_block")

    layers: Entries = Field(description="the residual path")
    shortcut: Entries = Field((), description="layers of the shortcut, where it must change the shape")

    @override
    def wire(self, wiring: Wiring, x: str) -> str:
        deep = wiring.run(self.layers, x)
        return wiring.layer(Add(), deep, wiring.run(self.shortcut, x))


class Branches(Composite):
    """Several paths from one input, joined: inception modules. An empty path is the input itself.

    Input -> the joined outputs; concat: channels side by side, add: summed. Source: Szegedy et al. 2014.

    Example: `branches: [[{conv: {filters: 4, kernel: 1}}], [{max_pool: {kernel: 3, stride: 1, padding: same}}]]`  (8, 8, 6) -> (8, 8, 10), 28 parameters
    """  # noqa: E501

    shorthand: ClassVar[str | None] = "paths"
    aliases: ClassVar[tuple[str, ...]] = ("parallel", "inception")

    paths: Paths = Field(description="lists of layers")
    join: Literal["concat", "add"] = Field("concat", description="how the paths meet")

    @override
    def wire(self, wiring: Wiring, x: str) -> str:
        if not self.paths:
            raise ShapeError("has no paths", "Give at least one list of layers.")
        ends = [wiring.run(path, x) for path in self.paths]
        return wiring.layer(Concat() if self.join == "concat" else Add(), *ends)


class Aux(Composite):
    """An auxiliary classifier: layers on the side whose loss joins training with ``weight``, and nothing afterwards.

    Input -> the input itself. The side ends like the network, in as many outputs as there are classes; its
    parameters are not counted with the network's. Source: Szegedy et al. 2014.

    Example: `aux: {weight: 0.3, layers: [flatten, {fc: 10}, softmax]}`  (4, 4, 6) -> (4, 4, 6), 0 parameters
    """

    aliases: ClassVar[tuple[str, ...]] = ("auxiliary", "aux_head", "side")

    layers: Entries = Field(description="the side, down to its outputs")
    weight: float = Field(0.3, gt=0, description="its share of the training loss")

    @override
    def wire(self, wiring: Wiring, x: str) -> str:
        wiring.head(self.layers, x, self.weight)
        return x
