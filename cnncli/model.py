"""A graph as two pure functions: ``init`` draws its arrays, ``apply`` computes its outputs.

Arrays live in flat dicts by the graph's names, ``conv1.kernel``: the names of checkpoints, exports and reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnncli.graph import INPUT, Graph, Node
from cnncli.layers.activation import Relu
from cnncli.layers.base import Call, Shape, name_hash
from cnncli.layers.initializers import Initializer
from cnncli.layers.joins import Add

Arrays = dict[str, Array]


class Weights(NamedTuple):
    """All arrays of a network: ``params`` are trained, ``state`` is carried (statistics, frozen weights)."""

    params: Arrays
    state: Arrays


@dataclass(frozen=True)
class Chain:
    """A layer that computes those behind it as well: the sum with ``add`` (a node's name) and a ReLU."""

    start: Node
    add: str
    relu: bool
    inside: tuple[str, ...]
    end: str


def chains(graph: Graph) -> list[Chain]:
    """Every layer that ``absorbs`` with what it can: nodes that nobody else reads."""
    read_by: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            read_by.setdefault(name, []).append(node)
    ends = {graph.output.name, *(head.end for head in graph.heads)}

    def only_reader(node: Node) -> Node | None:
        readers = read_by.get(node.name, [])
        return readers[0] if len(readers) == 1 and node.name not in ends else None

    found: dict[str, Chain] = {}
    for start in graph.nodes:
        if not start.layer.absorbs:
            continue
        end, add, inside = start, "", []
        follower = only_reader(end)
        if follower and isinstance(follower.layer, Add) and len(set(follower.inputs)) == 2:
            add = next(name for name in follower.inputs if name != start.name)
            inside, end = [start.name], follower
            follower = only_reader(end)
        relu = follower is not None and isinstance(follower.layer, Relu)
        if follower and relu:
            inside, end = [*inside, end.name], follower
        if inside and end.name not in found:  # of two that meet in a sum, the first
            found[end.name] = Chain(start, add, relu, tuple(inside), end.name)
    return list(found.values())


Drawing = tuple[Initializer, Shape, tuple[int, int]]  # how an array starts, its shape and fans
KINDS = 16  # of drawings in one program


def _drawer(drawings: Sequence[Drawing]) -> Callable[[Array, np.ndarray], list[Array]]:
    """``draw(key, hashes)``: an array of each kind; ``hashes`` (len(drawings), 2) uint32: of node and array."""

    def draw(key: Array, hashes: np.ndarray) -> list[Array]:
        keys = [jax.random.fold_in(jax.random.fold_in(key, node), name) for node, name in hashes]
        return [init.draw(own, shape, fans) for own, (init, shape, fans) in zip(keys, drawings, strict=True)]

    return draw


@dataclass(frozen=True)
class Model:
    """The network of ``graph``, computing in ``dtype``; weights stay float32."""

    graph: Graph
    dtype: Any = jnp.float32

    def init(self, key: Array, compiler_options: dict[str, Any] | None = None) -> Weights:
        """Draw every array. Each one's key follows from its names, so a new layer moves no other's weights.

        What is drawn alike is drawn by one program: the time to compile one for all grows with the square of the depth.
        """
        alike: dict[Drawing, list[tuple[str, str]]] = {}
        for node, name, weight in self.graph.weights():
            alike.setdefault((weight.init, weight.shape, weight.fans), []).append((node, name))
        as_often: dict[int, list[Drawing]] = {}  # programs draw once of each kind, so they hold kinds that are as many
        for drawing, names in alike.items():
            as_often.setdefault(len(names), []).append(drawing)
        arrays: Arrays = {}
        for kinds in as_often.values():
            for first in range(0, len(kinds), KINDS):
                part = kinds[first : first + KINDS]
                program = jax.jit(_drawer(part), compiler_options=compiler_options)
                for names_of_draw in zip(*(alike[drawing] for drawing in part), strict=True):
                    hashes = np.array([(name_hash(node), name_hash(name)) for node, name in names_of_draw], np.uint32)
                    arrays |= zip(map(".".join, names_of_draw), program(key, hashes), strict=True)
        trained = {f"{node}.{name}": weight.trained for node, name, weight in self.graph.weights()}
        return Weights(*({name: arrays[name] for name in trained if trained[name] is kind} for kind in (True, False)))

    def apply(
        self, weights: Weights, images: Array, *, key: Array | None = None, logits_of: str = ""
    ) -> tuple[Array, Arrays]:
        """``images`` (B, *input) -> outputs (B, C) float32 and the new state.

        ``key``: given in training. ``logits_of``: stop before a final layer of this kind.
        """
        values, state = self._values(weights, images, self.graph.main, key)
        return self._end(values, self.graph.output, logits_of), state

    def apply_training(
        self, weights: Weights, images: Array, key: Array, *, logits_of: str = ""
    ) -> tuple[Array, list[tuple[float, Array]], Arrays]:
        """As ``apply`` in training, with each auxiliary head's weight in the loss and outputs."""
        values, state = self._values(weights, images, self.graph.nodes, key, chains(self.graph))
        by_name = {node.name: node for node in self.graph.aux}
        heads = [(head.weight, self._end(values, by_name[head.end], logits_of)) for head in self.graph.heads]
        return self._end(values, self.graph.output, logits_of), heads, state

    def values(self, weights: Weights, images: Array, key: Array | None = None) -> Arrays:
        """The output of every node for ``images`` (B, *input); ``key``: as in training."""
        return self._values(weights, images, self.graph.main, key)[0]

    def _values(
        self,
        weights: Weights,
        images: Array,
        nodes: Sequence[Node],
        key: Array | None,
        chains: Sequence[Chain] = (),
    ) -> tuple[Arrays, Arrays]:
        """Values and the new state. Inside of ``chains`` nodes have no values of their own."""
        values = {INPUT: images.astype(self.dtype)}
        state = dict(weights.state)
        ends = {chain.end: chain for chain in chains}
        inside = {name for chain in chains for name in chain.inside}
        for node in nodes:
            if node.name in inside:
                continue
            chain = ends.get(node.name)
            start = chain.start if chain else node
            values[node.name], new = self._call(start, weights, values, key, chain)
            state |= {f"{start.name}.{name}": array for name, array in new.items()}
        return values, state

    def _end(self, values: Arrays, node: Node, logits_of: str) -> Array:
        """A node's value, or where it is of the kind ``logits_of``, its input."""
        return values[node.inputs[0] if node.layer.kind == logits_of else node.name].astype(jnp.float32)

    def _call(
        self, node: Node, weights: Weights, values: Arrays, key: Array | None, chain: Chain | None
    ) -> tuple[Array, Arrays]:
        names = {name: f"{node.name}.{name}" for name in node.weights}
        call = Call(
            {name: weights.params[full] for name, full in names.items() if full in weights.params},
            {name: weights.state[full] for name, full in names.items() if full in weights.state},
            node.resolved.sliding,
            train=key is not None,
            key=None if key is None else jax.random.fold_in(key, name_hash(node.name)),
        )
        if chain:
            call = replace(call, add=values[chain.add] if chain.add else None, relu=chain.relu)
        with jax.named_scope(node.name):
            return node.layer.apply(call, *(values[name] for name in node.inputs))

    def decays(self, params: Arrays) -> dict[str, bool]:
        """Which parameters weight decay may touch: kernels, not biases or norm parameters."""
        decayed = {f"{node}.{name}" for node, name, weight in self.graph.weights() if weight.decay}
        return {name: name in decayed for name in params}
