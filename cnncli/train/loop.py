"""Training from the first step to the last: the story, top to bottom."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import optax

from cnncli.config.load import Loaded
from cnncli.config.schema import Config
from cnncli.data.loader import Order
from cnncli.data.transforms.transform import Constants
from cnncli.durations import in_seconds, in_steps
from cnncli.metrics import Result
from cnncli.native.library import kernels
from cnncli.runs import checkpoint
from cnncli.runs.directory import Run, append_line
from cnncli.train.devices import Placement
from cnncli.train.events import EpochRow, Events, Outcome, Progress
from cnncli.train.health import Health, make_health, warnings
from cnncli.train.prepare import Data, class_weights
from cnncli.train.signals import Wish
from cnncli.train.state import Memory, Tally, TrainState, optimizer_to_arrays, params_to_arrays
from cnncli.train.step import first_state, first_weights, make_optimizer, make_run
from cnncli.train.trained import make_model
from cnncli.train.validate import Validation, evaluate, make_count

PACE = 0.25  # seconds between two looks at the device
MOST_STEPS = 64  # in one call


class Diverged(Exception):  # noqa: N818 (first it is looked into, then it may become an error)
    """Training left the finite numbers. ``step``: the first (from 0) that cannot be trusted; ``what`` was seen."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(what)
        self.step, self.what = step, what


def lengths(config: Config, per_epoch: int) -> tuple[int, int, int]:
    """In steps: the whole training, the distance of two lines of the log, of two checkpoints."""
    total = per_epoch * config.train.epochs
    log_every, save_every = (
        in_steps(each, per_epoch, total) for each in (config.train.log_every, config.train.save_every)
    )
    return total, max(log_every, 1), max(save_every, 1)


class Session:
    """A training under way: what was made from the config, once."""

    def __init__(self, loaded: Loaded, data: Data, constants: Constants, place: Placement, run: Run) -> None:
        config = loaded.config
        self.loaded, self.config = loaded, config
        self.run, self.data, self.place, self.constants = run, data, place, constants
        self.model = make_model(loaded)
        self.classes = data.dataset.classes
        self.order = Order(len(data.dataset.train), config.train.batch_size, config.seed)
        self.per_epoch = self.order.steps_per_epoch
        self.total, self.log_every, self.save_every = lengths(config, self.per_epoch)
        self.count = make_count(config, self.model, len(self.classes))
        whole = place.whole
        train = data.dataset.train
        self.images, self.labels, self.device_constants = jax.device_put((train.images, train.labels, constants), whole)
        counts = class_weights(config, data.dataset)
        self.class_weights = None if counts is None else jax.device_put(counts, whole)
        self.compile_seconds = 0.0
        # XLA on CPU computes convolutions' weight gradients slowly inside a loop: there, one step a call.
        slow = place.on_cpu and kernels().name == "xla"
        self.steps_per_call = 1 if slow else min(MOST_STEPS, self.per_epoch)
        self.share = math.nan
        self.go_at(1.0)

    def go_at(self, share: float) -> None:
        """Train at this share of the learning rate: another program, compiled when it is needed."""
        if share == self.share:
            return
        self.share = share
        config, whole, classes = self.config, self.place.whole, len(self.classes)
        slower = config.train.optimizer.model_copy(update={"lr": config.train.optimizer.lr * share})
        config = config.model_copy(update={"train": config.train.model_copy(update={"optimizer": slower})})
        self.rate = config.train.schedule.build(slower.lr, self.per_epoch, self.total)
        self.optimizer: optax.GradientTransformation = make_optimizer(config, self.model, self.per_epoch, self.total)
        steps = make_run(config, self.model, self.optimizer, classes, self.class_weights)
        self._steps = jax.jit(steps, donate_argnums=0, out_shardings=(whole, whole))
        self._compiled: dict[int, Any] = {}
        self.health = make_health(config, self.model, self.optimizer, classes) if config.train.watch else None

    def first_state(self) -> TrainState:
        """Step 0, on the devices."""
        start = time.perf_counter()
        # Runs once: compiling it carefully would take longer than the rest of the start.
        options = {"xla_backend_optimization_level": 0} if self.place.on_cpu else {}
        weights = jax.device_put(first_weights(self.config, self.model, options), self.place.whole)
        make = jax.jit(
            lambda weights: first_state(self.config, self.model, self.optimizer, weights),
            donate_argnums=0,  # no two arrays of the state may share memory: steps donate it
            out_shardings=self.place.whole,
            compiler_options=options,
        )
        state = make(weights)
        self.compile_seconds += time.perf_counter() - start
        return state

    def compiled(self, state: TrainState, steps: int) -> Any:
        """The program for ``steps`` steps a call, compiled once."""
        if steps not in self._compiled:
            start = time.perf_counter()
            rows = jax.device_put(np.zeros((steps, self.order.batch_size), np.int32), self.place.steps)
            arguments = (state, self.images, self.labels, self.device_constants, rows)
            with self.place.scope():
                self._compiled[steps] = self._steps.lower(*arguments).compile()
            self.compile_seconds += time.perf_counter() - start
        return self._compiled[steps]

    def advance(self, state: TrainState, start: int, stop: int) -> tuple[TrainState, np.ndarray, np.ndarray]:
        """Steps start .. stop - 1 (of one epoch): the new state, losses (K,) and numbers of correct images (K,)."""
        rows, most, outs = self.order.steps(start, stop), self.steps_per_call, []
        for first in range(0, len(rows), most):
            part = rows[first : first + most]
            filled = np.pad(part, ((0, most - len(part)), (0, 0)), constant_values=-1)  # one program for any number
            program = self.compiled(state, most)
            filled = jax.device_put(filled, self.place.steps)
            state, out = program(state, self.images, self.labels, self.device_constants, filled)
            outs.append({name: values[: len(part)] for name, values in out.items()})
        fetched = jax.device_get(outs)
        losses, correct = (np.concatenate([out[name] for out in fetched]) for name in ("loss", "correct"))
        return state, losses, correct

    def validate(self, state: TrainState) -> Result | None:
        """On the validation split, if there is one."""
        split = self.data.dataset.val
        if split is None:
            return None
        size = self.order.batch_size
        classes = len(self.classes)
        return evaluate(self.count, state.shipped, self.device_constants, split, classes, size, self.place.batch)

    def look(self, state: TrainState, step: int) -> Health:
        """Each layer's health on the batch that comes after ``step``; empty unless asked for."""
        if self.health is None:
            return {}
        rows = jax.device_put(self.order.steps(step, step + 1)[0], self.place.batch)
        key = jax.random.fold_in(jax.random.key(self.config.seed), step)
        found = jax.device_get(self.health(state, self.images, self.labels, self.device_constants, rows, key))
        return {layer: {name: float(value) for name, value in figures.items()} for layer, figures in found.items()}

    def save(self, state: TrainState, memory: Memory, validation: dict[str, float] | None) -> None:
        """Commit a checkpoint, then prune. Diverged where there is nothing worth saving."""
        arrays = params_to_arrays(state, self.constants)
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise Diverged(memory.step, f"{name} is not finite after step {memory.step}")
        remembered = memory.model_dump(include=set(Memory.model_fields))
        told = {"classes": list(self.classes), "image_shape": list(self.data.image_shape), **remembered}
        contents = checkpoint.Contents(arrays, optimizer_to_arrays(state.optimizer), told)
        checkpoint.save(self.run.checkpoints, contents, validation)
        checkpoint.prune(self.run.checkpoints, self.config.train.keep, self.save_every)


@dataclass
class Clock:
    """Seconds of this process. ``pace``: steps that take about ``PACE`` seconds."""

    spent_before: float = 0.0
    start: float = field(default_factory=time.perf_counter)
    training: float = 0.0
    images: int = 0
    pace: int = 1
    epoch_training: float = 0.0
    epoch_images: int = 0

    def end_epoch(self) -> tuple[float, float]:
        """(seconds of training, images per second) of the epoch that ends here."""
        seconds, images = self.epoch_training, self.epoch_images
        self.epoch_training, self.epoch_images = 0.0, 0
        return seconds, images / seconds if seconds else 0.0

    def train(self, steps: int, batch_size: int, seconds: float) -> float:
        """Note a stretch of training; images per second of it."""
        self.training += seconds
        self.epoch_training += seconds
        self.images += steps * batch_size
        self.epoch_images += steps * batch_size
        self.pace = max(1, min(int(PACE * steps / seconds) if seconds else 1, 2 * self.pace + 8))
        return steps * batch_size / seconds if seconds else 0.0


def fit(session: Session, state: TrainState, memory: Memory, events: Events, wish: Wish, clock: Clock) -> Outcome:
    """Train to the end, or until it is time to stop. Interrupted when asked to stop, Diverged when it must."""
    validation = Validation.of_run(session.run, session.config.train, memory.step, session.per_epoch)
    if why := _why_finished(session, memory, validation):
        events.note(why)
        return _outcome(session, memory, validation, clock)
    events.compiling()
    session.compiled(state, session.steps_per_call)
    events.compiled(session.compile_seconds)
    with wish.held():
        while memory.step < session.total:
            if memory.step % session.per_epoch == 0:
                _look(session, state, memory.step, events)
            state = _stretch(session, state, memory, events, clock)
            ends = memory.step % session.per_epoch == 0
            if ends and _end_of_epoch(session, state, memory, validation, events, clock):
                break
            _maybe_save(session, state, memory, wish)
    return _outcome(session, memory, validation, clock)


def _why_finished(session: Session, memory: Memory, validation: Validation) -> str:
    """In words, for a run that is resumed after its last step; empty where there is something to train."""
    epochs = memory.step // session.per_epoch
    if memory.step >= session.total:
        return f"the run is finished: {epochs} epochs are done. Try train.epochs={2 * epochs} to go on"
    if memory.step % session.per_epoch == 0 and (why := validation.why_stop):
        return f"the run is finished: it {why}. Try train.early_stop=null to go on"
    return ""


def _look(session: Session, state: TrainState, step: int, events: Events) -> None:
    """Before an epoch: each layer's health into the metrics, and what is wrong in words."""
    if health := session.look(state, step):
        line = {"kind": "health", "step": step + 1, "epoch": step // session.per_epoch + 1, "layers": health}
        append_line(session.run.metrics, line)
    for text in warnings(health, session.model.graph):
        events.note(text)


def _stretch(session: Session, state: TrainState, memory: Memory, events: Events, clock: Clock) -> TrainState:
    """Some steps: up to the end of the epoch, the next line of the log, the next checkpoint or the next look."""
    start, size, before = memory.step, session.order.batch_size, session.compile_seconds
    ends = (session.per_epoch, session.log_every, session.save_every)
    stop = min([start + clock.pace, *((start // every + 1) * every for every in ends)])
    began = time.perf_counter()
    state, losses, correct = session.advance(state, start, stop)
    rate = clock.train(stop - start, size, time.perf_counter() - began - (session.compile_seconds - before))
    _require_finite(losses, start)
    for tally in (memory.epoch, memory.log):
        tally.add(losses, correct)
    memory.step = stop
    epoch = start // session.per_epoch
    means = memory.epoch.means(size)
    steps = stop - epoch * session.per_epoch
    events.progress(Progress(epoch + 1, steps, session.per_epoch, means["loss"], means["accuracy"], rate))
    if stop % session.log_every == 0:
        line = {"kind": "steps", "step": stop, "epoch": epoch + 1, "lr": float(session.rate(stop - 1))}
        append_line(session.run.metrics, line | memory.log.means(size))
        memory.log = Tally.empty()
    return state


def _require_finite(losses: np.ndarray, start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        step = start + int(bad[0])
        raise Diverged(step, f"the loss is {losses[bad[0]]} at step {step + 1}")


def _end_of_epoch(
    session: Session, state: TrainState, memory: Memory, validation: Validation, events: Events, clock: Clock
) -> bool:
    """Validate, write the epoch's line, say so; whether training should end here."""
    config, epoch = session.config.train, memory.step // session.per_epoch
    began = time.perf_counter()
    result = session.validate(state)
    val = {"loss": result.loss, "accuracy": result.accuracy} if result else None
    train = memory.epoch.means(session.order.batch_size)
    lr = float(session.rate(memory.step - 1))
    best = validation.add(val)
    append_line(session.run.metrics, {"kind": "epoch", "step": memory.step, "epoch": epoch, "lr": lr, "train": train,
                                      "val": val})  # fmt: skip
    seconds, rate = clock.end_epoch()
    took = seconds + time.perf_counter() - began
    append_line(session.run.timing, {"step": memory.step, "epoch": epoch, "seconds": took, "images_per_second": rate,
                                     "compile_seconds": session.compile_seconds})  # fmt: skip
    row = EpochRow(epoch, config.epochs, train, val, lr, rate, took, best)
    memory.epoch = Tally.empty()
    reason = _reason_to_stop(session, memory.step, validation, clock)
    if reason or memory.step == session.total or memory.step % session.save_every == 0:
        session.save(state, memory, val)
    events.epoch(row)
    if reason:
        events.note(reason)
    return bool(reason)


def _reason_to_stop(session: Session, step: int, validation: Validation, clock: Clock) -> str:
    config = session.config.train
    limit = config.max_time if step < session.total else None
    if limit and clock.spent_before + time.perf_counter() - clock.start >= in_seconds(limit):
        return f"stopped: max_time {limit} is over"
    return validation.why_stop


def _maybe_save(session: Session, state: TrainState, memory: Memory, wish: Wish) -> None:
    """A checkpoint in the middle of an epoch, when due or when asked to stop."""
    inside = memory.step % session.per_epoch
    if wish.signum or (inside and memory.step % session.save_every == 0):
        session.save(state, memory, None)
    wish.grant()


def _outcome(session: Session, memory: Memory, validation: Validation, clock: Clock) -> Outcome:
    rate = clock.images / clock.training if clock.training else 0.0
    epochs = memory.step // session.per_epoch
    seconds = time.perf_counter() - clock.start
    return Outcome(
        session.run.folder, epochs, memory.step, seconds, session.compile_seconds, rate, validation.last, None
    )
