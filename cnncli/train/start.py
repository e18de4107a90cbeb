"""Starting and resuming a training: everything around the loop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp

from cnncli.config.load import Loaded, load
from cnncli.config.schema import Config
from cnncli.errors import CheckpointError, ConfigError, Place
from cnncli.runs import checkpoint, directory
from cnncli.runs.directory import Run
from cnncli.runs.files import replace_file
from cnncli.runs.provenance import lock
from cnncli.train.devices import Placement, placement
from cnncli.train.events import Events, Outcome
from cnncli.train.loop import Memory, Session, fit
from cnncli.train.prepare import Data, fit_constants, load_data
from cnncli.train.state import TrainState, optimizer_from_arrays
from cnncli.train.trained import Trained, on_devices, open_checkpoint
from cnncli.train.validate import evaluate

# What a finished or broken run may be continued with; everything else would make it another training.
MAY_CHANGE = ("epochs", "max_time", "early_stop", "watch", "log_every", "save_every", "keep")


def train(loaded: Loaded, root: Path, events: Events) -> Outcome:
    """Train a config from the start, in a new folder under ``root``."""
    config = loaded.config
    directory.require_name(root, config.name)
    place = placement(config.train.batch_size)
    events.device(place.describe())
    data = load_data(config, loaded.graph, events.loading)
    constants = fit_constants(config, data.dataset.train)
    run = directory.create(root, config.name, _files(loaded, data, place))
    session = Session(loaded, data, constants, place, run)
    events.started(run.folder, about(session))
    for text in _notes(loaded):
        events.note(text)
    return _finish(session, session.first_state(), Memory(), events)


def resume(path: Path, overrides: Sequence[str], events: Events) -> Outcome:
    """Continue a run from its newest sound checkpoint, exactly as if it had not stopped."""
    run, _ = directory.find(path)
    before, loaded = load(run.resolved), load(run.resolved, overrides)
    _require_same_training(before.config, loaded.config, run)
    place = placement(loaded.config.train.batch_size)
    events.device(place.describe())
    trained = newest_sound(run, loaded, events)
    data = load_data(loaded.config, loaded.graph, events.loading)
    _require_same_data(run, data)
    session = Session(loaded, data, trained.constants, place, run)
    memory = Memory.from_json(trained.contents.state)
    if memory.step >= session.total:
        raise ConfigError.of(f"the run is finished: {before.config.train.epochs} epochs are done",
                             f"Try train.epochs={2 * before.config.train.epochs}.", Place(str(run.folder)))  # fmt: skip
    events.started(run.folder, about(session))
    events.note(f"resumed at step {memory.step} of {session.total} from {trained.checkpoint.name}")
    if loaded.config.train.epochs != before.config.train.epochs:
        events.note(_about_schedule(before.config, loaded.config, session, memory.step))
    replace_file(run.resolved, directory.to_yaml(_absolute(loaded.config).to_yaml()).encode())
    for file in (run.metrics, run.timing):
        directory.cut_lines(file, memory.step)
    spent = sum(line["seconds"] for line in directory.json_lines(run.timing))
    return _finish(session, _restored(session, trained, memory.step), memory, events, spent)


def newest_sound(run: Run, loaded: Loaded, events: Events) -> Trained:
    """The newest checkpoint that verifies; damaged ones are set aside in words. CheckpointError when none is sound."""
    damaged: list[tuple[Path, CheckpointError]] = []
    for manifest in reversed(checkpoint.manifests(run.checkpoints)):
        try:
            trained = open_checkpoint(run, loaded, manifest.folder)
        except CheckpointError as error:
            damaged.append((manifest.folder, error))
            continue
        for folder, why in damaged:  # only now: where none is sound, nothing is touched
            aside = checkpoint.set_aside(folder)
            events.note(f"{why} Set aside as {aside.name}; using the checkpoint before it.")
        return trained
    if damaged:
        raise CheckpointError([problem for _, why in damaged for problem in why.problems])
    raise CheckpointError.of("no checkpoint to resume from", "Train the config anew.", Place(str(run.checkpoints)))


def about(session: Session) -> str:
    """The network and the data in a line."""
    data, config = session.data.dataset, session.config
    parts = [f"{len(data.train):,} training"]
    parts += [f"{len(split):,} {name}" for name, split in (("validation", data.val), ("test", data.test)) if split]
    params = session.model.graph.params
    return f"{config.name}: {params:,} parameters; {config.data.source.kind}: {', '.join(parts)} images"


def _finish(session: Session, state: TrainState, memory: Memory, events: Events, spent: float = 0.0) -> Outcome:
    outcome = fit(session, state, memory, events, spent)
    test = session.data.dataset.test
    if test is not None:
        trained = open_checkpoint(session.run, session.loaded, directory.choose(session.run, "best"))
        weights, constants = on_devices((trained.shipped, trained.constants), session.place.whole)
        size = session.order.batch_size
        result = evaluate(session.count, weights, constants, test, size, session.place.batch)
        outcome = replace(outcome, test={"loss": result.loss, "accuracy": result.accuracy})
    events.finished(outcome)
    return outcome


def _restored(session: Session, trained: Trained, step: int) -> TrainState:
    template = session.optimizer.init(trained.weights.params)
    inner = optimizer_from_arrays(template, trained.contents.optimizer)
    state = TrainState(jnp.asarray(step, jnp.int32), *trained.weights, inner, trained.average)
    return on_devices(state, session.place.whole)


def _files(loaded: Loaded, data: Data, place: Placement) -> dict[str, str]:
    config = loaded.config
    flags = {"precision": config.train.precision, "kernels": "xla", "devices": place.mesh.devices.size}
    names = [str(device) for device in place.mesh.devices.flat]
    return {
        "config.yaml": loaded.text,
        "resolved.yaml": directory.to_yaml(_absolute(config).to_yaml()),
        "lock.json": lock(config.seed, data.fingerprint, names, flags),
    }


def _absolute(config: Config) -> Config:
    """Paths made absolute, so that the run means the same from any folder."""
    folder = str(Path(config.data.dir).expanduser().absolute()) if config.data.dir else None
    data = config.data.model_copy(update={"dir": folder, "source": config.data.source.located()})
    return config.model_copy(update={"data": data})


def _require_same_training(before: Config, after: Config, run: Run) -> None:
    old, new = before.to_yaml(), after.to_yaml()
    for config in (old, new):
        config["train"] = {key: value for key, value in config["train"].items() if key not in MAY_CHANGE}
    changed = [key for key in old if key != "train" and old[key] != new[key]]
    changed += [f"train.{key}" for key in old["train"] if old["train"][key] != new["train"][key]]
    if changed:
        hint = f"A resumed run may change train.{', train.'.join(MAY_CHANGE)}; train anew for the rest."
        raise CheckpointError.of(f"cannot resume with another {', '.join(changed)}", hint, Place(str(run.folder)))


def _require_same_data(run: Run, data: Data) -> None:
    try:
        known = json.loads(run.lock.read_text(encoding="utf-8"))["data"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError.of("is missing or not readable", place=Place(str(run.lock))) from None
    if known != data.fingerprint:
        raise CheckpointError.of(f"the data is not the data of this run (SHA-256 {data.fingerprint[:12]}..., was "
                                 f"{str(known)[:12]}...)", "Put the old data back.", Place(str(run.lock)))  # fmt: skip


def _about_schedule(before: Config, after: Config, session: Session, step: int) -> str:
    old, new = before.train, after.train
    total = session.per_epoch * old.epochs
    was = float(old.schedule.build(old.optimizer.lr, session.per_epoch, total)(max(step - 1, 0)))
    now = float(session.rate(step))
    return (f"{old.epochs} epochs became {new.epochs}: the {new.schedule.kind} schedule now spans all of them; the "
            f"learning rate goes on at {now:.4g} (it was {was:.4g})")  # fmt: skip


def _notes(loaded: Loaded) -> list[str]:
    nodes = loaded.graph.nodes
    return [f"{node.name}: {text}" for node in nodes if (text := node.layer.note())]
