"""Saving a training, opening a trained network from its run alone, and going on from a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import TypeAdapter

from cnncli.config.load import Loaded, load
from cnncli.config.schema import Config
from cnncli.data.transforms.augment import augment
from cnncli.data.transforms.preprocess import constants_fit, value_steps
from cnncli.data.transforms.transform import Constants, named, shape_after
from cnncli.errors import CheckpointError, Place, ShapeError
from cnncli.model import Arrays, Model, Weights
from cnncli.runs import checkpoint
from cnncli.runs.checkpoint import OPTIMIZER, PARAMS, STATE, Contents
from cnncli.runs.directory import Run, find
from cnncli.runs.files import writing
from cnncli.runs.records import validated
from cnncli.train.events import Events
from cnncli.train.health import Diverged
from cnncli.train.loop_state import LoopState, SavedState
from cnncli.train.setup import Setup
from cnncli.train.state import (
    TrainState,
    optimizer_from_arrays,
    optimizer_to_arrays,
    params_to_arrays,
    weights_from_arrays,
)
from cnncli.train.step import make_model


def any_step(step: int) -> bool:
    """Accept the checkpoint of every step."""
    return True


@dataclass(frozen=True)
class Trained:
    """A trained network. ``folder``: its checkpoint. ``ema_params``: empty without ``train.ema``."""

    run: Run
    folder: Path
    loaded: Loaded
    model: Model
    weights: Weights
    ema_params: Arrays
    constants: Constants
    saved: SavedState
    optimizer: dict[str, np.ndarray]

    @property
    def eval_weights(self) -> Weights:
        """The weights to evaluate and to deploy: the moving average if there is one."""
        return Weights(self.ema_params or self.weights.params, self.weights.state)


# -- Saving -----------------------------------------------------------------------------------------------------------


def save(setup: Setup, run: Run, state: TrainState, loop_state: LoopState, validation: dict[str, float] | None) -> None:
    """Commit a checkpoint, then prune. Diverged if an array is not finite: then nothing is saved."""
    arrays = params_to_arrays(state, setup.constants)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise Diverged(loop_state.step, f"{name} is not finite after step {loop_state.step}")
    saved = {
        "classes": list(setup.classes),
        "image_shape": list(setup.data.image_shape),
        **loop_state.model_dump(include=set(LoopState.model_fields)),
    }
    checkpoint.save(run.checkpoints, Contents(arrays, optimizer_to_arrays(state.opt_state), saved), validation)
    prune(setup, run)


def prune(setup: Setup, run: Run) -> None:
    """Remove the checkpoints that the config does not keep."""
    checkpoint.prune(run.checkpoints, setup.config.train.keep, setup.save_every)


# -- Opening ----------------------------------------------------------------------------------------------------------


def open_trained(path: Path, which: str = "best", events: Events = Events()) -> Trained:
    """The network of a run (its ``best`` or ``latest`` sound checkpoint) or of one checkpoint's folder."""
    run, folder = find(path)
    loaded = load(run.resolved)
    if folder:
        trained = open_checkpoint(run, loaded, folder)
    else:
        trained, damaged = first_sound(run, loaded, which)
        for _, error in damaged:
            events.note(f"{error} Using {trained.folder.name}.")
    if not all(np.isfinite(array).all() for array in jax.tree.leaves((trained.eval_weights, trained.constants))):
        events.note(f"{trained.folder} has weights that are not finite")
    return trained


def first_sound(
    run: Run, loaded: Loaded, which: str, wanted: Callable[[int], bool] = any_step
) -> tuple[Trained, list[tuple[Path, CheckpointError]]]:
    """The ``best`` or ``latest`` checkpoint of a ``wanted`` step that verifies, and the damaged ones tried before it.

    CheckpointError (exit 5) lists all that is damaged if none is sound.
    """
    manifests, damaged = [], []
    for folder in reversed(checkpoint.folders(run.checkpoints)):
        try:
            manifests.append(checkpoint.read_manifest(folder))
        except CheckpointError as error:
            damaged.append((folder, error))
    if which == "best":
        manifests.sort(key=lambda manifest: manifest.rank, reverse=True)
    for manifest in manifests:
        if wanted(manifest.step):
            try:
                return open_checkpoint(run, loaded, manifest.folder), damaged
            except CheckpointError as error:
                damaged.append((manifest.folder, error))
    if damaged:
        raise CheckpointError([problem for _, error in damaged for problem in error.problems])
    raise CheckpointError.of("no checkpoint in this run", "Train the config anew.", Place(str(run.checkpoints)))


def open_checkpoint(run: Run, loaded: Loaded, folder: Path) -> Trained:
    """A verified checkpoint. CheckpointError (exit 5) where it does not fit the network and the config."""
    contents, model = checkpoint.load(folder), make_model(loaded)
    template = jax.eval_shape(model.init, jax.random.key(0))
    ema = loaded.config.train.ema is not None
    weights, ema_params, constants = weights_from_arrays(contents.params, template, ema, Place(str(folder)))
    _require_constants(loaded, constants, Place(str(folder / PARAMS)))
    state_place = Place(str(folder / STATE))
    saved = validated(TypeAdapter(SavedState), json.dumps(contents.state).encode(), state_place)
    _require_same_network(loaded, saved, state_place)
    return Trained(run, folder, loaded, model, weights, ema_params, constants, saved, contents.optimizer)


def _require_same_network(loaded: Loaded, saved: SavedState, place: Place) -> None:
    """CheckpointError where state.json contradicts the config."""
    config, count = loaded.config, len(saved.classes)
    width = loaded.graph.output.shape[0]
    if width not in config.train.loss.widths(count):
        raise CheckpointError.of(f"has {count}, the network gives {width} outputs", place=place, path="classes")
    try:
        shape = shape_after((*config.data.preprocess, *config.data.augment), saved.image_shape)
    except ShapeError as error:
        raise CheckpointError.of(str(error), place=place, path="image_shape") from None
    if shape != loaded.graph.input_shape:
        raise CheckpointError.of(f"gives an input of {shape}, the network takes {loaded.graph.input_shape}",
                                 place=place, path="image_shape")  # fmt: skip
    for name, mean in (("epoch", saved.epoch), ("log", saved.log)):
        if mean.steps > saved.step or mean.correct > mean.steps * config.train.batch_size:
            raise CheckpointError.of(f"counts more than {saved.step} steps give", place=place, path=name)


def _require_constants(loaded: Loaded, constants: Constants, place: Place) -> None:
    data = loaded.config.data
    known = {name for name, _ in (*value_steps(data.preprocess), *named(data.augment))}
    if unknown := sorted(constants.keys() - known):
        raise CheckpointError.of(f"has constants of unknown preprocessing: {', '.join(unknown[:5])}", place=place)
    if not constants_fit(data.preprocess, constants, loaded.graph.input_shape):
        raise CheckpointError.of("lacks constants of preprocessing, or has them in another shape", place=place)


# -- Going on from a checkpoint ---------------------------------------------------------------------------------------


def newest_sound(run: Run, loaded: Loaded, events: Events, wanted: Callable[[int], bool] = any_step) -> Trained:
    """The newest checkpoint of a ``wanted`` step that verifies; damaged ones are set aside, which is told.

    CheckpointError if none is sound: then nothing is touched.
    """
    trained, damaged = first_sound(run, loaded, "latest", wanted)
    for folder, error in damaged:
        with writing(run.folder):
            aside = checkpoint.set_aside(folder)
        before = "; using the checkpoint before it" if folder.name > trained.folder.name else ""
        events.note(f"{error} Set aside as {aside.name}{before}.")
    return trained


def restore_loop_state(setup: Setup, trained: Trained) -> LoopState:
    """Where the loop was. CheckpointError where it cannot have been in this training."""
    saved, expected = trained.saved, trained.saved.step % setup.per_epoch
    if saved.epoch.steps != expected:
        raise CheckpointError.of(f"expected {expected} after {saved.step} steps, got {saved.epoch.steps}",
                                 place=Place(str(trained.folder / STATE)), path="epoch.steps")  # fmt: skip
    return saved.model_copy(deep=True)


def restore_state(setup: Setup, trained: Trained) -> TrainState:
    """Weights and optimizer as they were, on the devices. CheckpointError where they do not fit."""
    if not augmentations_fit(setup.config, trained.constants, setup.train_data.images.shape[1:]):
        raise CheckpointError.of("lacks constants of augmentations, or has them in another shape",
                                 place=Place(str(trained.folder / PARAMS)))  # fmt: skip
    template, place = setup.optimizer.init(trained.weights.params), Place(str(trained.folder / OPTIMIZER))
    opt_state = optimizer_from_arrays(template, trained.optimizer, place)
    state = TrainState(jnp.asarray(trained.saved.step, jnp.int32), *trained.weights, opt_state, trained.ema_params)
    # Copied, because JAX may share the memory of NumPy's arrays, and steps donate the state.
    return jax.device_put(jax.tree.map(np.array, state), setup.place.whole)


def augmentations_fit(config: Config, constants: Constants, shape: tuple[int, ...]) -> bool:
    """Whether constants from a file are those that augmentations of images need. Nothing is computed."""
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    try:
        jax.eval_shape(lambda c, x: augment(config.data.augment, c, jax.random.key(0), x)[0], constants, x)
    except (KeyError, TypeError, ValueError):
        return False
    return True
