"""What a composite wires with. The graph is the one that implements it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cnncli.layers import Entries
    from cnncli.layers.base import Layer


class Wiring(Protocol):
    """Adds nodes to a graph. Nodes are known by name."""

    def run(self, entries: Entries, x: str) -> str:
        """Wire entries one behind the other, starting from node ``x``; the name of the last."""

    def layer(self, layer: Layer, *inputs: str) -> str:
        """Wire one layer behind ``inputs``; its name."""

    def head(self, entries: Entries, x: str, weight: float) -> None:
        """Wire an auxiliary classifier behind ``x``: trained with ``weight``, left out afterwards."""

    def scope(self, name: str) -> AbstractContextManager[None]:
        """Names inside begin with ``name.`` and count for themselves."""
