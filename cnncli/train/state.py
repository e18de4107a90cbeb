"""Everything training carries from step to step, and its form in a checkpoint."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from cnncli.errors import CheckpointError
from cnncli.model import Arrays, Weights

EMA, PREPROCESS = "ema.", "preprocess."


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
    match_names(arrays, {name: tuple(leaf.shape) for name, leaf in wanted.items()}, "optimizer state")
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
    shapes = {name: tuple(leaf.shape) for name, leaf in {**template.params, **template.state}.items()}
    if ema:
        shapes |= {EMA + name: tuple(leaf.shape) for name, leaf in template.params.items()}
    match_names(rest, shapes, "weights")
    params = {name: rest[name] for name in template.params}
    average = {name: rest[EMA + name] for name in template.params} if ema else {}
    return Weights(params, {name: rest[name] for name in template.state}), average, constants


def match_names(found: dict[str, np.ndarray], wanted: dict[str, tuple[int, ...]], what: str) -> None:
    """CheckpointError unless names and shapes agree."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    wrong = [
        f"{name} is {found[name].shape}, expected {shape}"
        for name, shape in wanted.items()
        if name in found and found[name].shape != shape
    ]
    parts = [f"{word} {', '.join(names[:5])}" for word, names in (("missing", missing), ("unknown", extra)) if names]
    if parts or wrong:
        raise CheckpointError.of(
            f"the {what} of the checkpoint are not this network's: " + "; ".join(parts + wrong[:5])
        )


def _path(path: Any) -> str:
    return ".".join(str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in path)
