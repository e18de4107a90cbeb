"""Whether a training fits into memory: a word before, a word when it did not, and what ``batch_size: auto`` is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp

from cnncli import memory
from cnncli.config.load import Loaded
from cnncli.config.schema import Config
from cnncli.data.transforms.transform import Constants
from cnncli.errors import MachineError
from cnncli.memory import Need
from cnncli.runs.directory import Run
from cnncli.text import in_bytes
from cnncli.train.devices import Placement, placement
from cnncli.train.events import Events
from cnncli.train.loop import Session
from cnncli.train.prepare import Data
from cnncli.train.trained import DTYPES

EPOCH_STEPS = 50  # at least, with an automatic batch: few steps learn little
SMALLEST, LARGEST = 16, 1024  # automatic batch: smaller ones leave cores idle, larger ones learn worse at the same rate


def placed(config: Config) -> Placement:
    """The devices that a batch is divided among; for ``auto`` those that any power of two is."""
    return placement(1 << 20 if config.train.batch_size == "auto" else config.train.batch_size)


def need_of(loaded: Loaded, data: Data, carried: int, place: Placement) -> Need:
    """What a training needs on each device. ``carried``: bytes of all that goes from step to step."""
    number = jnp.dtype(DTYPES[loaded.config.train.precision]).itemsize
    held = data.dataset.train.images.nbytes + data.dataset.train.labels.nbytes
    return memory.need(loaded.graph, carried, held, number, place.mesh.devices.size)


@contextmanager
def room(loaded: Loaded, data: Data, carried: int, place: Placement, events: Events) -> Iterator[None]:
    """Say so before a training that will probably not fit, and in words (exit 4) when it did not."""
    size, free = loaded.config.train.batch_size, memory.free_memory(place.mesh.devices.flat[0])
    need = need_of(loaded, data, carried, place)
    if text := memory.warning(need, size, free):
        events.note(text)
    with memory.told(need, size, free):
        yield


def settled(loaded: Loaded, data: Data, constants: Constants, carried: int, events: Events) -> Loaded:
    """With a number for ``batch_size: auto``: the largest power of two that is estimated to fit into what is free.

    Neither is it more than ``LARGEST``, nor than gives an epoch ``EPOCH_STEPS`` steps (``SMALLEST`` is always allowed).
    The compiled program says what it takes in truth: as long as that is too much, the number is halved.
    """
    if loaded.config.train.batch_size != "auto":
        return loaded
    count = len(data.dataset.train)
    place = placed(loaded.config)
    device = place.mesh.devices.flat[0]
    free = memory.free_memory(device)
    may = int(memory.share(device) * free) if free is not None else None
    need = need_of(loaded, data, carried, place)
    most = 1 << (min(max(count // EPOCH_STEPS, min(SMALLEST, count)), LARGEST).bit_length() - 1)
    size = min(need.largest(may), most) if may is not None else most
    while size and may is not None and (took := _program_bytes(_with(loaded, size), data, constants)) > may:
        events.note(f"batch_size: {size} would take {in_bytes(took)}, {in_bytes(may)} may be filled")
        size //= 2
    if not size:
        raise MachineError.of(f"not one image a step fits into memory: it takes about {in_bytes(need.of(1))}, "
                              f"{in_bytes(free or 0)} are free", memory.advice(0, 1))  # fmt: skip
    events.note(f"batch_size: auto is {size}: about {in_bytes(need.of(size))} of {in_bytes(free or 0)} free memory, "
                f"{-(-count // size):,} steps an epoch")  # fmt: skip
    return _with(loaded, size)


def _with(loaded: Loaded, size: int) -> Loaded:
    config = loaded.config
    train = config.train.model_copy(update={"batch_size": size})
    return replace(loaded, config=config.model_copy(update={"train": train}))


def _program_bytes(loaded: Loaded, data: Data, constants: Constants) -> int:
    """What the compiled step says that it takes; 0 where it does not say."""
    session = Session(loaded, data, constants, placement(loaded.config.train.batch_size), Run(Path()))
    program = session.compiled(session.first_state(), session.steps_per_call)
    return memory.program_bytes(program) or 0
