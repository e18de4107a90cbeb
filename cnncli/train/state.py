"""The arrays that training carries from step to step, and their names in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax import Array

from cnncli.data.transforms.transform import Constants
from cnncli.errors import CheckpointError, Place
from cnncli.model import Arrays, Weights

if TYPE_CHECKING:
    import optax

EMA, PREPROCESS = "ema.", "preprocess."  # prefixes in params.safetensors


class TrainState(NamedTuple):
    """``step``: updates done. ``model_state``: running statistics and frozen weights, which no gradient changes.

    ``ema_params``: moving average of ``params``; empty without ``train.ema``.
    """

    step: Array
    params: Arrays
    model_state: Arrays
    opt_state: optax.OptState
    ema_params: Arrays

    @property
    def eval_weights(self) -> Weights:
        """The weights to evaluate and to deploy: the moving average if there is one."""
        return Weights(self.ema_params or self.params, self.model_state)


def params_to_arrays(state: TrainState, constants: Constants) -> dict[str, np.ndarray]:
    """The content of params.safetensors: weights by name, ``ema.`` and ``preprocess.`` before the names of others."""
    arrays = {**state.params, **state.model_state, **{EMA + name: array for name, array in state.ema_params.items()}}
    for step, values in constants.items():
        arrays |= {f"{PREPROCESS}{step}.{name}": array for name, array in values.items()}
    return {name: np.asarray(array) for name, array in arrays.items()}


def optimizer_to_arrays(opt_state: optax.OptState) -> dict[str, np.ndarray]:
    """The content of optimizer.safetensors: the optimizer's arrays by their path."""
    return {leaf_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(opt_state)}


def optimizer_from_arrays(template: optax.OptState, arrays: Mapping[str, np.ndarray], place: Place) -> optax.OptState:
    """The optimizer's state in the form of ``template``. CheckpointError where names or shapes differ."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(template)
    wanted = {leaf_name(path): leaf for path, leaf in leaves}
    _require_equal_names(arrays, wanted, "optimizer state", place)
    return jax.tree_util.tree_unflatten(tree, [arrays[name] for name in wanted])


def weights_from_arrays(
    arrays: Mapping[str, np.ndarray], template: Weights, ema: bool, place: Place
) -> tuple[Weights, Arrays, Constants]:
    """(weights, ema_params, preprocessing constants). CheckpointError where names or shapes differ."""
    constants: Constants = {}
    for name in arrays:
        if name.startswith(PREPROCESS):
            step, _, constant = name.removeprefix(PREPROCESS).partition(".")
            constants.setdefault(step, {})[constant] = arrays[name]
    averages = {EMA + name: leaf for name, leaf in template.params.items()} if ema else {}
    weights: dict[str, Any] = {name: array for name, array in arrays.items() if not name.startswith(PREPROCESS)}
    _require_equal_names(weights, {**template.params, **template.state, **averages}, "weights", place)
    params, state = ({name: weights[name] for name in part} for part in template)
    return Weights(params, state), {name.removeprefix(EMA): weights[name] for name in averages}, constants


def _require_equal_names(found: Mapping[str, np.ndarray], wanted: Mapping[str, Any], what: str, place: Place) -> None:
    """CheckpointError unless names, shapes and types agree."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    parts = [f"{word} {', '.join(names[:5])}" for word, names in (("missing", missing), ("unknown", extra)) if names]
    wrong = [
        f"{name} is {found[name].dtype} {found[name].shape}, expected {leaf.dtype} {tuple(leaf.shape)}"
        for name, leaf in wanted.items()
        if name in found and (found[name].shape, found[name].dtype) != (tuple(leaf.shape), leaf.dtype)
    ]
    if parts or wrong:
        differences = "; ".join(parts + wrong[:5])
        raise CheckpointError.of(f"the {what} of the checkpoint are not this network's: {differences}", place=place)


def bytes_of(*trees: Any) -> int:
    """Bytes of all arrays, or of shapes that stand for arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trees))


def leaf_name(path: tuple[Any, ...]) -> str:
    """``1.0.trace.conv1.kernel``: the keys, fields and indices on the way to an array of the optimizer's state."""
    return ".".join(str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in path)
