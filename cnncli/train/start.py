"""Starting and resuming a training: everything around the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from cnncli.config.load import Loaded, load
from cnncli.config.schema import Config
from cnncli.data.loader import Order
from cnncli.data.transforms.transform import Constants
from cnncli.errors import CheckpointError, ConfigError, Place
from cnncli.native.library import kernels
from cnncli.paths import located
from cnncli.runs import checkpoint, directory
from cnncli.runs.directory import Run, locked, only_trainer
from cnncli.runs.files import replace_file, require_space, writing
from cnncli.runs.provenance import lock, variables
from cnncli.train import diverged, precision
from cnncli.train.devices import Placement, available_cores, placement
from cnncli.train.events import Events, Outcome
from cnncli.train.loop import Clock, Diverged, Session, fit, lengths
from cnncli.train.prepare import Data, fit_constants, load_data
from cnncli.train.restore import memory_of, newest_sound, state_of
from cnncli.train.room import placed, room, settled
from cnncli.train.signals import Interrupted, Wish, stop_wish
from cnncli.train.state import Memory, TrainState, bytes_of
from cnncli.train.step import make_optimizer
from cnncli.train.trained import make_model, on_devices, open_trained
from cnncli.train.validate import evaluate

# What a finished or broken run may be continued with, besides the optimizer's lr; everything else would make it
# another training.
MAY_CHANGE = ("epochs", "schedule", "max_time", "early_stop", "watch", "log_every", "save_every", "keep", "on_nan")


def train(loaded: Loaded, root: Path, events: Events) -> Outcome:
    """Train a config from the start, in a new folder under ``root``."""
    config = loaded.config
    directory.require_name(root, config.name)
    with stop_wish() as wish:
        events.device(placed(config).describe())
        data = load_data(config, loaded.graph, events.loading)
        constants = fit_constants(config, data.dataset.train)
        size = checkpoint_bytes(loaded, constants)
        loaded = settled(loaded, data, constants, size, events)
        require_space(root, most_checkpoints(loaded.config, data) * size)
        place = placement(loaded.config.train.batch_size)
        loaded = precision.settled(loaded, data, constants, place, events)
        with ExitStack() as stack:
            with wish.held():  # until there is something to resume from
                run = directory.create(root, config.name, _files(loaded, data, place))
                stack.enter_context(only_trainer(run, events.note))
                stack.enter_context(writing(run.folder))
                stack.enter_context(room(loaded, data, size, place, events))
                session = Session(loaded, data, constants, place, run)
                events.started(run.folder, about(session))
                for text in (*data.notes, *_notes(loaded)):
                    events.note(text)
                events.compiling()
                state, memory = session.first_state(), Memory.at_start()
                session.save(state, memory, None)
            return _finish(session, state, memory, events, wish)


def resume(path: Path, overrides: Sequence[str], events: Events) -> Outcome:
    """Continue a run from its newest sound checkpoint; with the config as it was, exactly as if it had not stopped.

    ``path``: the run, or its newest checkpoint, which must then be sound. Of a finished run what a kill may have
    left undone after the last step is done.
    """
    run, given = directory.find(path)
    directory.require_inside(run)
    before, loaded = load(run.resolved), load(run.resolved, overrides)
    _require_same_training(before.config, loaded.config, run)
    with stop_wish() as wish, only_trainer(run, events.note):
        place = placement(loaded.config.train.batch_size)
        events.device(place.describe())
        with wish.held():
            trained = newest_sound(run, loaded, events, _only(run, given))
        data = load_data(loaded.config, loaded.graph, events.loading)
        _require_same_data(run, data)
        session = Session(loaded, data, trained.constants, place, run)
        memory = memory_of(session, trained)
        _require_not_shortened(session, memory)
        events.started(run.folder, about(session))
        if text := _what_computes_otherwise(run, _flags(loaded.config, place)):
            events.note(text)
        events.note(f"resumed at step {memory.step} of {session.total} from {trained.checkpoint.name}")
        if text := _about_rate(before.config, loaded.config, session, memory.step):
            events.note(text)
        size = checkpoint_bytes(loaded, trained.constants)
        with writing(run.folder), room(loaded, data, size, place, events):
            with wish.held():
                _as_if_stopped_at(run, memory, loaded.config)
                checkpoint.prune(run.checkpoints, loaded.config.train.keep, session.save_every)
            session.go_at(0.5**memory.restores)
            spent = sum(line.get("seconds", 0) for line in directory.json_lines(run.timing))
            return _finish(session, state_of(session, trained), memory, events, wish, spent)


def _as_if_stopped_at(run: Run, memory: Memory, config: Config) -> None:
    """The run's files as they were when the checkpoint was written, with the config of now."""
    replace_file(run.resolved, directory.to_yaml(_absolute(config).to_yaml()).encode())
    for file in (run.metrics, run.timing):
        directory.cut_lines(file, memory.step, memory.restores)


def most_checkpoints(config: Config, data: Data) -> int:
    """How many are there at once: those kept, the best and one being written, or all that training makes."""
    per_epoch = Order(len(data.dataset.train), config.train.batch_size, config.seed).steps_per_epoch
    total, _, save_every = lengths(config, per_epoch)
    return min(config.train.keep + 2, 1 + -(-total // save_every))


def checkpoint_bytes(loaded: Loaded, constants: Constants) -> int:
    """Size of a checkpoint: weights, their moving average, the optimizer's arrays and preprocessing constants."""
    config, model = loaded.config, make_model(loaded)
    weights = jax.eval_shape(model.init, jax.random.key(0))
    slots = jax.eval_shape(make_optimizer(config, model, 1, config.train.epochs).init, weights.params)
    return bytes_of(weights, slots, weights.params if config.train.ema else (), constants)


def about(session: Session) -> str:
    """The network and the data in a line."""
    data, config = session.data.dataset, session.config
    parts = [f"{len(data.train):,} training"]
    parts += [f"{len(split):,} {name}" for name, split in (("validation", data.val), ("test", data.test)) if split]
    params = session.model.graph.params
    return f"{config.name}: {params:,} parameters; {config.data.source.kind}: {', '.join(parts)} images"


def _finish(
    session: Session, state: TrainState, memory: Memory, events: Events, wish: Wish, spent: float = 0.0
) -> Outcome:
    """Train to the end, going back where the numbers end if that is wanted; then measure on test images, once."""
    clock, outcome = Clock(spent), None
    try:
        while outcome is None:
            try:
                outcome = fit(session, state, memory, events, wish, clock)
            except Diverged as found:
                state, memory = diverged.restore(session, memory, found, events)
        outcome = replace(outcome, test=_test(session, events))
    except Interrupted as stopped:
        raise Interrupted(stopped.signum, trained=outcome is not None or memory.step >= session.total) from None
    events.finished(outcome)
    return outcome


def _test(session: Session, events: Events) -> dict[str, float] | None:
    test = session.data.dataset.test
    if test is None:
        return None
    trained = open_trained(session.run.folder, "best", events)
    weights, constants = on_devices((trained.shipped, trained.constants), session.place.whole)
    size, classes = session.order.batch_size, len(session.classes)
    result = evaluate(session.count, weights, constants, test, classes, size, session.place.batch)
    return {"loss": result.loss, "accuracy": result.accuracy}


def _only(run: Run, given: Path | None) -> Callable[[int], bool]:
    """Which steps' checkpoints may be resumed from. ConfigError where one was given that is not the newest."""
    names = [folder.name for folder in checkpoint.folders(run.checkpoints)]
    if given is None or not names:
        return lambda step: True
    if given.name != names[-1]:
        later = ", ".join(names[names.index(given.name) + 1 :]) if given.name in names else names[-1]
        hint = f"Try cnn train --resume {run.folder} to go on from {names[-1]}, or remove {later} first."
        raise ConfigError.of("is not the newest checkpoint of its run", hint, Place(str(given)))
    return lambda step: step == int(given.name.removeprefix("step-"))


def _require_not_shortened(session: Session, memory: Memory) -> None:
    if memory.step > session.total:
        done, epochs = memory.step / session.per_epoch, session.config.train.epochs
        raise ConfigError.of(f"{done:.4g} epochs are done, got {epochs}", f"Try train.epochs={math.ceil(done)}.",
                             Place(str(session.run.folder)), "train.epochs")  # fmt: skip


def _files(loaded: Loaded, data: Data, place: Placement) -> dict[str, str]:
    config = loaded.config
    names = [str(device) for device in place.mesh.devices.flat]
    splits = {name: data.dataset.fingerprint(name) for name in data.dataset.splits}
    return {
        "config.yaml": loaded.text,
        "resolved.yaml": directory.to_yaml(_absolute(config).to_yaml()),
        "lock.json": lock(config.seed, data.fingerprint, splits, names, _flags(config, place)),
    }


def _flags(config: Config, place: Placement) -> dict[str, Any]:
    """What changes the last digits. ``cores``: XLA and our kernels add up in other orders on another number."""
    size = place.mesh.devices.size
    flags = {"precision": config.train.precision, "kernels": kernels().name, "devices": size} | variables()
    return flags | ({"cores": available_cores()} if place.mesh.devices.flat[0].platform == "cpu" else {})


def _absolute(config: Config) -> Config:
    """Paths made absolute, so that the run means the same from any folder."""
    return config.model_copy(update={"data": located(config.data, lambda _: Path().absolute())})


def _require_same_training(before: Config, after: Config, run: Run) -> None:
    old, new = _with_lr(before, 1.0).to_yaml(), _with_lr(after, 1.0).to_yaml()
    for config in (old, new):
        config["train"] = {key: value for key, value in config["train"].items() if key not in MAY_CHANGE}
    changed = [key for key in old if key != "train" and old[key] != new[key]]
    changed += [f"train.{key}" for key in old["train"] if old["train"][key] != new["train"][key]]
    if changed:
        free = f"the optimizer's lr, train.{', train.'.join(MAY_CHANGE)}"
        hint = f"A resumed run may change {free}; train anew for the rest."
        raise CheckpointError.of(f"cannot resume with another {', '.join(changed)}", hint, Place(str(run.folder)))


def _with_lr(config: Config, lr: float) -> Config:
    optimizer = config.train.optimizer.model_copy(update={"lr": lr})
    return config.model_copy(update={"train": config.train.model_copy(update={"optimizer": optimizer})})


def _what_computes_otherwise(run: Run, now: dict[str, Any]) -> str:
    before = locked(run, "flags")
    known = before.items() if isinstance(before, dict) else ()
    changed = [f"{name} {was!r} became {now[name]!r}" for name, was in known if name in now and was != now[name]]
    return f"{', '.join(changed)}: from here on the last digits may differ" if changed else ""


def _require_same_data(run: Run, data: Data) -> None:
    known = locked(run, "data", "sha256")
    if known != data.fingerprint:
        raise CheckpointError.of(f"the data is not the data of this run (SHA-256 {data.fingerprint[:12]}..., was "
                                 f"{str(known)[:12]}...)", "Put the old data back.", Place(str(run.lock)))  # fmt: skip


def _about_rate(before: Config, after: Config, session: Session, step: int) -> str:
    """What else than before the learning rate follows from; empty where nothing else."""
    old, new, changed = before.train, after.train, []
    if old.epochs != new.epochs:
        changed.append(
            f"{old.epochs} epochs became {new.epochs}: the {new.schedule.kind} schedule now spans all of them"
        )
    if old.optimizer.lr != new.optimizer.lr:
        changed.append(f"the optimizer's lr {old.optimizer.lr:.4g} became {new.optimizer.lr:.4g}")
    if old.schedule != new.schedule:
        changed.append(f"the schedule {old.schedule.kind} became {new.schedule.kind}")
    if not changed:
        return ""
    total = session.per_epoch * old.epochs
    was = float(old.schedule.build(old.optimizer.lr, session.per_epoch, total)(max(step - 1, 0)))
    now = float(session.rate(step))
    return f"{'; '.join(changed)}; the learning rate goes on at {now:.4g} (it was {was:.4g})"


def _notes(loaded: Loaded) -> list[str]:
    nodes = loaded.graph.nodes
    slow = [f"plain XLA computes the convolutions: {kernels().why}"] if kernels().wanting else []
    return slow + [f"{node.name}: {text}" for node in nodes if (text := node.layer.note())]
