"""From a checkpoint back to a training."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cnncli.config.load import Loaded
from cnncli.config.schema import Config
from cnncli.data.transforms.augment import augment
from cnncli.data.transforms.transform import Constants
from cnncli.errors import CheckpointError, Place
from cnncli.runs import checkpoint
from cnncli.runs.directory import Run
from cnncli.runs.files import writing
from cnncli.train.events import Events
from cnncli.train.loop import Session
from cnncli.train.state import Memory, TrainState, optimizer_from_arrays
from cnncli.train.trained import Trained, first_sound, on_devices


def newest_sound(
    run: Run, loaded: Loaded, events: Events, wanted: Callable[[int], bool] = lambda step: True
) -> Trained:
    """The newest checkpoint (of a ``wanted`` step) that verifies; damaged ones are set aside in words.

    CheckpointError when none is sound: then nothing is touched.
    """
    trained, damaged = first_sound(run, loaded, "latest", wanted)
    for folder, why in damaged:
        with writing(run.folder):
            aside = checkpoint.set_aside(folder)
        before = "; using the checkpoint before it" if folder.name > trained.checkpoint.name else ""
        events.note(f"{why} Set aside as {aside.name}{before}.")
    return trained


def memory_of(session: Session, trained: Trained) -> Memory:
    """What the loop remembered. CheckpointError where it cannot be of this training."""
    memory: Memory = trained.state.model_copy(deep=True)
    if memory.epoch.steps != memory.step % session.per_epoch:
        raise CheckpointError.of(f"expected {memory.step % session.per_epoch} after {memory.step} steps, got "
                                 f"{memory.epoch.steps}", place=Place(str(trained.checkpoint / "state.json")),
                                 path="epoch.steps")  # fmt: skip
    return memory


def state_of(session: Session, trained: Trained) -> TrainState:
    """Weights and optimizer as they were, on the devices. CheckpointError where they do not fit."""
    config, folder = session.config, trained.checkpoint
    if not augmentations_fit(config, trained.constants, session.images.shape[1:]):
        raise CheckpointError.of("lacks constants of augmentations, or has them in another shape",
                                 place=Place(str(folder / checkpoint.FILES[0])))  # fmt: skip
    template = session.optimizer.init(trained.weights.params)
    try:
        inner = optimizer_from_arrays(template, trained.contents.optimizer)
    except CheckpointError as error:
        raise CheckpointError.of(str(error), place=Place(str(folder / checkpoint.FILES[1]))) from None
    step = jnp.asarray(trained.state.step, jnp.int32)
    return on_devices(TrainState(step, *trained.weights, inner, trained.average), session.place.whole)


def augmentations_fit(config: Config, constants: Constants, shape: tuple[int, ...]) -> bool:
    """Whether constants that came from a file are those that augmentations of images need. Nothing is computed."""
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    try:
        jax.eval_shape(lambda c, x: augment(config.data.augment, c, jax.random.key(0), x)[0], constants, x)
    except (KeyError, TypeError, ValueError):
        return False
    return True
