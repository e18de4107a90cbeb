"""From a checkpoint back to a training."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from cnncli.config.load import Loaded
from cnncli.errors import CheckpointError, Place
from cnncli.runs import checkpoint
from cnncli.runs.directory import Run
from cnncli.runs.files import writing
from cnncli.train.events import Events
from cnncli.train.loop import Memory, Session
from cnncli.train.state import TrainState, optimizer_from_arrays
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


def memory_of(trained: Trained) -> Memory:
    """What the loop remembered. CheckpointError where it is not that."""
    try:
        return Memory.from_json(trained.contents.state)
    except ValueError:
        place = Place(str(trained.checkpoint / "state.json"))
        raise CheckpointError.of("is not the state of a training", place=place) from None


def state_of(session: Session, trained: Trained) -> TrainState:
    """Weights and optimizer as they were, on the devices."""
    template = session.optimizer.init(trained.weights.params)
    inner = optimizer_from_arrays(template, trained.contents.optimizer)
    step = jnp.asarray(trained.contents.state["step"], jnp.int32)
    return on_devices(TrainState(step, *trained.weights, inner, trained.average), session.place.whole)
