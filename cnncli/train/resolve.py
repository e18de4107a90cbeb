"""``auto`` settings become values, once, before anything is built: the batch size, then the precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from cnncli import memory
from cnncli.config.load import Loaded
from cnncli.errors import MachineError
from cnncli.native.library import kernels
from cnncli.text import in_bytes
from cnncli.train.devices import placement
from cnncli.train.events import Events
from cnncli.train.setup import Setup

if TYPE_CHECKING:
    from jaxtyping import Float

EPOCH_STEPS = 50  # at least, with an automatic batch: few steps learn little
SMALLEST, LARGEST = 16, 1024  # automatic batch: smaller ones leave cores idle, larger ones learn worse at the same rate
TRIAL_EPOCHS, TRIAL_STEPS = 2, 300  # the shorter of both
ANY_POWER_OF_TWO = 1 << 20  # a batch that as many devices divide as divide any large one
WORSE = 0.05  # by which share of float32's loss bfloat16 may be worse

MakeSetup = Callable[[Loaded], Setup]


def with_train(loaded: Loaded, **values: Any) -> Loaded:
    """The config with other values in its section ``train``."""
    train = loaded.config.train.model_copy(update=values)
    return replace(loaded, config=loaded.config.model_copy(update={"train": train}))


def resolve_auto(loaded: Loaded, make_setup: MakeSetup, events: Events) -> Loaded:
    """The config without ``auto``. Each choice and its reason is told."""
    if loaded.config.train.batch_size == "auto":
        loaded = with_train(loaded, batch_size=resolve_batch_size(loaded, make_setup, events))
    if loaded.config.train.precision == "auto":
        loaded = with_train(loaded, precision=resolve_precision(loaded, make_setup, events))
    return loaded


def resolve_batch_size(loaded: Loaded, make_setup: MakeSetup, events: Events) -> int:
    """The largest power of two that is estimated to fit into free memory, but at most ``LARGEST``.

    It leaves an epoch ``EPOCH_STEPS`` steps; ``SMALLEST`` is always allowed. While the compiled program takes more
    than may be filled, it is halved.
    """
    probe = make_setup(with_train(loaded, batch_size=ANY_POWER_OF_TWO))
    count, need, free, device = probe.order.count, probe.memory, probe.free_memory, probe.place.device
    del probe  # so that its images do not take memory beside those of the next
    size = 1 << (min(max(count // EPOCH_STEPS, min(SMALLEST, count)), LARGEST).bit_length() - 1)
    if free is not None:
        limit = int(memory.auto_share(device) * free)
        size = min(need.largest(limit), size)
        while size and (took := _program_bytes(make_setup(with_train(loaded, batch_size=size)))) > limit:
            events.note(f"batch_size: {size} would take {in_bytes(took)}, {in_bytes(limit)} may be filled")
            size //= 2
    if not size:
        raise MachineError.of(f"not one image a step fits into memory: it takes about {in_bytes(need.of(1))}, "
                              f"{in_bytes(free or 0)} are free", memory.advice(0, 1))  # fmt: skip
    events.note(f"batch_size: auto is {size}: about {in_bytes(need.of(size))} of {in_bytes(free or 0)} free memory, "
                f"{-(-count // size):,} steps an epoch")  # fmt: skip
    return size


def _program_bytes(setup: Setup) -> int:
    """What the compiled training step takes."""
    return memory.program_bytes(setup.compile(setup.init_state()))


def resolve_precision(loaded: Loaded, make_setup: MakeSetup, events: Events) -> str:
    """bfloat16 where the hardware multiplies it faster and a trial from the same start learns as well with it."""
    good, reason = False, _no_hardware(placement(loaded.config.train.batch_size).device)
    if not reason:
        trials = (make_setup(with_train(loaded, precision=precision)) for precision in ("float32", "bfloat16"))
        good, reason = agree(*map(_trial, trials))
    precision = "bfloat16" if good else "float32"
    events.note(f"precision: auto is {precision}: {reason}")
    return precision


def agree(full: Float[np.ndarray, " steps"], half: Float[np.ndarray, " steps"]) -> tuple[bool, str]:
    """Whether the losses of a trial in bfloat16 (``half``) end as low as those in float32 (``full``); and a sentence.

    Compared are the means over the second half of the steps.
    """
    full_mean, half_mean = (float(losses[len(full) // 2 :].mean()) for losses in (full, half))
    text = f"in {len(full)} steps of trial the loss is {half_mean:.4f} in bfloat16, {full_mean:.4f} in float32"
    return bool(np.isfinite(half_mean)) and half_mean <= full_mean + WORSE * abs(full_mean), text


def _no_hardware(device: jax.Device) -> str:
    """Why bfloat16 would not be faster; empty where it would."""
    if device.platform == "cpu":
        if kernels().bfloat16 == 2:
            return ""
        return "this processor has no matrix units for bfloat16 (AMX)" if kernels().name == "onednn" else kernels().why
    if device.platform in ("gpu", "cuda"):
        capability = float(getattr(device, "compute_capability", 0) or 0)
        return "" if capability >= 8 else f"this GPU has no tensor cores for bfloat16 (compute capability {capability})"
    return ""  # a TPU multiplies nothing else


def _trial(setup: Setup) -> Float[np.ndarray, " steps"]:
    """Losses of the first epochs of a training that is thrown away."""
    steps = min(TRIAL_STEPS, min(TRIAL_EPOCHS, setup.config.train.epochs) * setup.per_epoch)
    state, parts = setup.init_state(), []
    for start in range(0, steps, setup.per_epoch):
        state, losses, _ = setup.advance(state, start, min(start + setup.per_epoch, steps))
        parts.append(losses)
    return np.concatenate(parts)
