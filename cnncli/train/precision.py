"""``precision: auto``: bfloat16 where the hardware is made for it and the network learns as well with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from cnncli.config.load import Loaded
from cnncli.data.transforms.transform import Constants
from cnncli.native.library import kernels
from cnncli.runs.directory import Run
from cnncli.train.devices import Placement
from cnncli.train.events import Events
from cnncli.train.loop import Session
from cnncli.train.prepare import Data

TRIAL_EPOCHS, TRIAL_STEPS = 2, 300  # the shorter of both
WORSE = 0.05  # share of float32's loss that bfloat16 may be worse by


def settled(loaded: Loaded, data: Data, constants: Constants, place: Placement, events: Events) -> Loaded:
    """With float32 or bfloat16 for ``precision: auto``; the choice is told. A trial trains both from the same start."""
    if loaded.config.train.precision != "auto":
        return loaded
    if why := _no_hardware(place.mesh.devices.flat[0]):
        events.note(f"precision: auto is float32: {why}")
        return _with(loaded, "float32")
    losses = [_trial(_with(loaded, name), data, constants, place) for name in ("float32", "bfloat16")]
    good, told = agree(*losses)
    choice = "bfloat16" if good else "float32"
    events.note(f"precision: auto is {choice}: {told}")
    return _with(loaded, choice)


def agree(full: np.ndarray, half: np.ndarray) -> tuple[bool, str]:
    """Whether the losses (steps,) of a trial in bfloat16 end as low as in float32; in words too."""
    late = slice(len(full) // 2, None)
    means = float(full[late].mean()), float(half[late].mean())
    told = f"in {len(full)} steps of trial the loss is {means[1]:.4f} in bfloat16, {means[0]:.4f} in float32"
    return bool(np.isfinite(means[1])) and means[1] <= means[0] + WORSE * abs(means[0]), told


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


def _trial(loaded: Loaded, data: Data, constants: Constants, place: Placement) -> np.ndarray:
    """Losses (steps,) of the first epochs, which are thrown away."""
    session = Session(loaded, data, constants, place, Run(Path()))
    steps = min(TRIAL_STEPS, min(TRIAL_EPOCHS, loaded.config.train.epochs) * session.per_epoch)
    state, losses, start = session.first_state(), [], 0
    while start < steps:
        stop = min(steps, (start // session.per_epoch + 1) * session.per_epoch)
        state, part, _ = session.advance(state, start, stop)
        losses.append(part)
        start = stop
    return np.concatenate(losses)


def _with(loaded: Loaded, precision: str) -> Loaded:
    config = loaded.config
    train = config.train.model_copy(update={"precision": precision})
    return replace(loaded, config=config.model_copy(update={"train": train}))
