"""A trained network, opened from its run alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import TypeAdapter

from cnncli.config.load import Loaded, load
from cnncli.data.transforms.preprocess import constants_fit, value_steps
from cnncli.data.transforms.transform import Constants, named, shape_after
from cnncli.errors import CheckpointError, Place, ShapeError
from cnncli.model import Arrays, Model, Weights
from cnncli.runs import checkpoint, directory
from cnncli.runs.checkpoint import Contents
from cnncli.runs.strict import validated
from cnncli.train.events import Events
from cnncli.train.state import SavedState, weights_from_arrays

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "auto": jnp.float32}  # auto: until it is settled


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
    state: SavedState
    contents: Contents

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self.state.classes

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one image as the data source gave it, before preprocessing."""
        return self.state.image_shape

    @property
    def shipped(self) -> Weights:
        """The moving average where one was kept, else the weights."""
        return Weights(self.average or self.weights.params, self.weights.state)


def make_model(loaded: Loaded) -> Model:
    """The network of a config in its precision."""
    return Model(loaded.graph, DTYPES[loaded.config.train.precision])


def open_trained(path: Path, which: str = "best", events: Events = Events()) -> Trained:
    """The network of a run (its ``best`` or ``latest`` sound checkpoint) or of one checkpoint's folder."""
    run, folder = directory.find(path)
    loaded = load(run.resolved)
    if folder:
        trained = open_checkpoint(run, loaded, folder)
    else:
        trained, damaged = first_sound(run, loaded, which)
        for _, why in damaged:
            events.note(f"{why} Using {trained.checkpoint.name}.")
    if not all(np.isfinite(array).all() for array in jax.tree.leaves((trained.shipped, trained.constants))):
        events.note(f"{trained.checkpoint} has weights that are not finite")
    return trained


def first_sound(
    run: directory.Run, loaded: Loaded, which: str, wanted: Callable[[int], bool] = lambda step: True
) -> tuple[Trained, list[tuple[Path, CheckpointError]]]:
    """The ``best`` or ``latest`` checkpoint of a ``wanted`` step that verifies, and the damaged ones met before it.

    CheckpointError (exit 5) names all that is damaged where none is sound.
    """
    damaged: list[tuple[Path, CheckpointError]] = []
    manifests = []
    for folder in reversed(checkpoint.folders(run.checkpoints)):
        try:
            manifests.append(checkpoint.read_manifest(folder))
        except CheckpointError as error:
            damaged.append((folder, error))
    if which == "best":
        manifests.sort(key=lambda each: each.rank, reverse=True)
    for manifest in manifests:
        if not wanted(manifest.step):
            continue
        try:
            return open_checkpoint(run, loaded, manifest.folder), damaged
        except CheckpointError as error:
            damaged.append((manifest.folder, error))
    if damaged:
        raise CheckpointError([problem for _, why in damaged for problem in why.problems])
    raise CheckpointError.of("no checkpoint in this run", "Train the config anew.", Place(str(run.checkpoints)))


def open_checkpoint(run: directory.Run, loaded: Loaded, folder: Path) -> Trained:
    """Verified weights in the form of the network. CheckpointError (exit 5) where they do not fit it."""
    contents = checkpoint.load(folder)
    model = make_model(loaded)
    template = jax.eval_shape(model.init, jax.random.key(0))
    try:
        weights, average, constants = weights_from_arrays(contents.params, template, bool(loaded.config.train.ema))
    except CheckpointError as error:
        raise CheckpointError.of(str(error), place=Place(str(folder))) from None
    _require_constants(loaded, constants, folder)
    state = _state(loaded, contents, folder)
    return Trained(run, folder, loaded, model, weights, average, constants, state, contents)


def _state(loaded: Loaded, contents: Contents, folder: Path) -> SavedState:
    """state.json, held against the config."""
    config, place = loaded.config, Place(str(folder / checkpoint.FILES[2]))
    state = validated(TypeAdapter(SavedState), json.dumps(contents.state).encode(), place)
    width, count = loaded.graph.output.shape[0], len(state.classes)
    if width not in config.train.loss.widths(count):
        raise CheckpointError.of(f"has {count}, the network gives {width} outputs", place=place, path="classes")
    try:
        shape = shape_after((*config.data.preprocess, *config.data.augment), state.image_shape)
    except ShapeError as error:
        raise CheckpointError.of(str(error), place=place, path="image_shape") from None
    if shape != loaded.graph.input_shape:
        raise CheckpointError.of(f"gives an input of {shape}, the network takes {loaded.graph.input_shape}",
                                 place=place, path="image_shape")  # fmt: skip
    for name, tally in (("epoch", state.epoch), ("log", state.log)):
        if tally.steps > state.step or tally.correct > tally.steps * config.train.batch_size:
            raise CheckpointError.of(f"counts more than {state.step} steps give", place=place, path=name)
    return state


def _require_constants(loaded: Loaded, constants: Constants, folder: Path) -> None:
    data, place = loaded.config.data, Place(str(folder / checkpoint.FILES[0]))
    known = {name for name, _ in (*value_steps(data.preprocess), *named(data.augment))}
    if unknown := sorted(constants.keys() - known):
        raise CheckpointError.of(f"has constants of unknown preprocessing: {', '.join(unknown[:5])}", place=place)
    if not constants_fit(data.preprocess, constants, loaded.graph.input_shape):
        raise CheckpointError.of("lacks constants of preprocessing, or has them in another shape", place=place)


def on_devices(tree: Any, sharding: Any) -> Any:
    """Arrays put on the devices, as copies: JAX may otherwise share memory with NumPy and donate it."""
    return jax.device_put(jax.tree.map(np.array, tree), sharding)
