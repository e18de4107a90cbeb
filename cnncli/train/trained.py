"""A trained network, opened from its run alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnncli.config.load import Loaded, load
from cnncli.data.preprocess import Constants
from cnncli.errors import CheckpointError, Place
from cnncli.model import Arrays, Model, Weights
from cnncli.runs import checkpoint, directory
from cnncli.runs.checkpoint import Contents
from cnncli.train.state import weights_from_arrays

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclass(frozen=True)
class Trained:
    """``weights``: those that are evaluated and shipped. ``checkpoint``: the folder they came from."""

    run: directory.Run
    checkpoint: Path
    loaded: Loaded
    model: Model
    weights: Weights
    average: Arrays
    constants: Constants
    classes: tuple[str, ...]
    contents: Contents

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one image as the data source gave it, before preprocessing."""
        return tuple(self.contents.state["image_shape"])

    @property
    def shipped(self) -> Weights:
        """The moving average where one was kept, else the weights."""
        return Weights(self.average or self.weights.params, self.weights.state)


def make_model(loaded: Loaded) -> Model:
    """The network of a config in its precision."""
    return Model(loaded.graph, DTYPES[loaded.config.train.precision])


def open_trained(path: Path, which: str = "best") -> Trained:
    """The network of a run (its ``best`` or ``latest`` checkpoint) or of one checkpoint's folder."""
    run, folder = directory.find(path)
    loaded = load(run.resolved)
    return open_checkpoint(run, loaded, folder or directory.choose(run, which))


def open_checkpoint(run: directory.Run, loaded: Loaded, folder: Path) -> Trained:
    """Verified weights in the form of the network. CheckpointError (exit 5) where they do not fit it."""
    contents = checkpoint.load(folder)
    model = make_model(loaded)
    template = jax.eval_shape(model.init, jax.random.key(0))
    try:
        weights, average, constants = weights_from_arrays(contents.params, template, bool(loaded.config.train.ema))
    except CheckpointError as error:
        raise CheckpointError.of(str(error), place=Place(str(folder))) from None
    classes = tuple(contents.state.get("classes", ()))
    return Trained(run, folder, loaded, model, weights, average, constants, classes, contents)


def on_devices(tree: Any, sharding: Any) -> Any:
    """Arrays put on the devices, as copies: JAX may otherwise share memory with NumPy and donate it."""
    return jax.device_put(jax.tree.map(np.array, tree), sharding)
