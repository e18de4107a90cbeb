"""A trained network, opened from its run alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel, PositiveInt

from cnncli.config.load import Loaded, load
from cnncli.data.augment import named
from cnncli.data.preprocess import Constants, constants_fit, value_steps
from cnncli.errors import CheckpointError, Place
from cnncli.model import Arrays, Model, Weights
from cnncli.runs import checkpoint, directory
from cnncli.runs.checkpoint import Contents
from cnncli.train.events import Events
from cnncli.train.state import weights_from_arrays

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "auto": jnp.float32}  # auto: until it is settled


class Told(BaseModel):
    """What state.json tells whoever uses the network."""

    classes: tuple[str, ...]
    image_shape: tuple[PositiveInt, ...]


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
    if not all(np.isfinite(array).all() for arrays in trained.shipped for array in arrays.values()):
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
    try:
        told = Told(**{name: contents.state.get(name) for name in ("classes", "image_shape")})
    except ValueError:
        raise CheckpointError.of("does not name classes and the shape of an image",
                                 place=Place(str(folder / "state.json"))) from None  # fmt: skip
    _require_constants(loaded, constants, folder)
    return Trained(run, folder, loaded, model, weights, average, constants, told.classes, contents)


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
