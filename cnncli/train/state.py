"""Everything training carries from step to step, and its form in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from jax import Array
from pydantic import Field

from cnncli.errors import CheckpointError
from cnncli.model import Arrays, Weights
from cnncli.runs.strict import Count, Figures, Finite, Strict

EMA, PREPROCESS = "ema.", "preprocess."
RESTORES = 3  # times that a training may go back


class Tally(Strict):
    """Sums over steps, in Python floats in step order, so that they do not depend on how steps were grouped."""

    loss: Finite
    correct: Annotated[int, Field(ge=0, le=1 << 51)]
    steps: Count

    @classmethod
    def empty(cls) -> Tally:
        """Of no steps."""
        return cls(loss=0.0, correct=0, steps=0)

    def add(self, losses: np.ndarray, correct: np.ndarray) -> None:
        """More steps."""
        for value in losses.tolist():
            self.loss += value
        self.correct += int(correct.sum())
        self.steps += len(losses)

    def means(self, batch_size: int) -> dict[str, float]:
        """Loss and accuracy per example."""
        return {"loss": self.loss / self.steps, "accuracy": self.correct / (self.steps * batch_size)}


class Memory(Strict):
    """What the loop remembers besides the weights; goes into state.json and comes back on resume."""

    step: Count
    epoch: Tally
    log: Tally
    # Times that training went back because it diverged; each halves the learning rate. Format 1 has none.
    restores: Annotated[int, Field(ge=0, le=RESTORES)] = 0

    @classmethod
    def at_start(cls) -> Memory:
        """Before the first step."""
        return cls(step=0, epoch=Tally.empty(), log=Tally.empty())


class SavedState(Memory):
    """state.json: what the loop remembers, and what whoever uses the network must know."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    image_shape: Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 20)], ...], Field(min_length=1, max_length=3)]
    validation: tuple[Figures, ...] = ()  # in formats 1 and 2; metrics.jsonl has the same


class TrainState(NamedTuple):
    """``step``: updates done. ``ema``: moving average of params, empty where none is kept."""

    step: Array
    params: Arrays
    state: Arrays
    optimizer: Any
    ema: Arrays

    @property
    def shipped(self) -> Weights:
        """The weights that are evaluated and shipped: the moving average where there is one."""
        return Weights(self.ema or self.params, self.state)


def params_to_arrays(state: TrainState, constants: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
    """params.safetensors: parameters and state by name, ``ema.`` and ``preprocess.`` before theirs."""
    arrays = {**state.params, **state.state, **{EMA + name: array for name, array in state.ema.items()}}
    for step, values in constants.items():
        arrays |= {f"{PREPROCESS}{step}.{name}": array for name, array in values.items()}
    return {name: np.asarray(array) for name, array in arrays.items()}


def optimizer_to_arrays(optimizer: Any) -> dict[str, np.ndarray]:
    """optimizer.safetensors: the optimizer's arrays by their path."""
    leaves = jax.tree_util.tree_leaves_with_path(optimizer)
    return {_path(path): np.asarray(leaf) for path, leaf in leaves}


def optimizer_from_arrays(template: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The optimizer's state in the form of ``template``."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(template)
    wanted = {_path(path): leaf for path, leaf in leaves}
    match_names(arrays, wanted, "optimizer state")
    return jax.tree_util.tree_unflatten(tree, [arrays[_path(path)] for path, _ in leaves])


def weights_from_arrays(
    arrays: dict[str, np.ndarray], template: Weights, ema: bool
) -> tuple[Weights, Arrays, dict[str, dict[str, Any]]]:
    """(params and state, moving average, preprocessing constants). CheckpointError where names or shapes differ."""
    constants: dict[str, dict[str, Any]] = {}
    rest: dict[str, Any] = dict(arrays)
    for name in [name for name in rest if name.startswith(PREPROCESS)]:
        step, _, constant = name.removeprefix(PREPROCESS).partition(".")
        constants.setdefault(step, {})[constant] = rest.pop(name)
    wanted = {**template.params, **template.state}
    if ema:
        wanted |= {EMA + name: leaf for name, leaf in template.params.items()}
    match_names(rest, wanted, "weights")
    params = {name: rest[name] for name in template.params}
    average = {name: rest[EMA + name] for name in template.params} if ema else {}
    return Weights(params, {name: rest[name] for name in template.state}), average, constants


def match_names(found: Mapping[str, np.ndarray], wanted: Mapping[str, Any], what: str) -> None:
    """CheckpointError unless names, shapes and types agree."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    wrong = [
        f"{name} is {found[name].dtype} {found[name].shape}, expected {leaf.dtype} {tuple(leaf.shape)}"
        for name, leaf in wanted.items()
        if name in found and (found[name].shape, found[name].dtype) != (tuple(leaf.shape), leaf.dtype)
    ]
    parts = [f"{word} {', '.join(names[:5])}" for word, names in (("missing", missing), ("unknown", extra)) if names]
    if parts or wrong:
        raise CheckpointError.of(
            f"the {what} of the checkpoint are not this network's: " + "; ".join(parts + wrong[:5])
        )


def bytes_of(*trees: Any) -> int:
    """Bytes of all arrays, or of what will be arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trees))


def _path(path: Any) -> str:
    return ".".join(str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in path)
