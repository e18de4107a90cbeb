"""What a resumed run may change and what it must not; what is told about the changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cnncli.config.schema import Config
from cnncli.errors import CheckpointError, ConfigError, Place
from cnncli.runs import checkpoint
from cnncli.runs.directory import Run, locked
from cnncli.train.checkpointing import any_step
from cnncli.train.prepare import Data
from cnncli.train.setup import Setup
from cnncli.train.step import LearningRate

# Besides the optimizer's lr. Anything else would make it another training.
MAY_CHANGE = ("epochs", "schedule", "max_time", "early_stop", "watch", "log_every", "save_every", "keep", "on_nan")


def require_same_training(before: Config, after: Config, run: Run) -> None:
    """CheckpointError names the fields that changed and must not."""
    old, new = _fixed_fields(before), _fixed_fields(after)
    if changed := [name for name in old if old[name] != new[name]]:
        free = f"the optimizer's lr, train.{', train.'.join(MAY_CHANGE)}"
        hint = f"A resumed run may change {free}; train anew for the rest."
        raise CheckpointError.of(f"cannot resume with another {', '.join(changed)}", hint, Place(str(run.folder)))


def _fixed_fields(config: Config) -> dict[str, Any]:
    fields = config.to_yaml()
    train = fields.pop("train")
    (optimizer,) = train["optimizer"].values()
    del optimizer["lr"]
    return fields | {f"train.{name}": value for name, value in train.items() if name not in MAY_CHANGE}


def require_same_data(run: Run, data: Data) -> None:
    """CheckpointError where the data is not that of the run."""
    known = locked(run, "data", "sha256")
    if known != data.fingerprint:
        raise CheckpointError.of(f"the data is not the data of this run (SHA-256 {data.fingerprint[:12]}..., was "
                                 f"{str(known)[:12]}...)", "Put the old data back.", Place(str(run.lock)))  # fmt: skip


def require_not_shortened(setup: Setup, run: Run, step: int) -> None:
    """ConfigError where more steps are done than the config wants."""
    if step > setup.total:
        done, epochs = step / setup.per_epoch, setup.config.train.epochs
        raise ConfigError.of(f"{done:.4g} epochs are done, got {epochs}", f"Try train.epochs={math.ceil(done)}.",
                             Place(str(run.folder)), "train.epochs")  # fmt: skip


def resumable_steps(run: Run, folder: Path | None) -> Callable[[int], bool]:
    """Which steps' checkpoints may be resumed from: all, or that of ``folder``, which must be the newest."""
    names = [each.name for each in checkpoint.folders(run.checkpoints)]
    if folder is None or not names:
        return any_step
    if folder.name != names[-1]:
        later = ", ".join(names[names.index(folder.name) + 1 :]) if folder.name in names else names[-1]
        hint = f"Try cnn train --resume {run.folder} to go on from {names[-1]}, or remove {later} first."
        raise ConfigError.of("is not the newest checkpoint of its run", hint, Place(str(folder)))
    return lambda step: step == checkpoint.step_of(folder)


def notes(before: Config, setup: Setup, run: Run, folder: Path, step: int) -> Iterator[str]:
    """What a user should know of a run that is resumed at ``step`` from ``folder``."""
    known, now = locked(run, "flags"), setup.numeric_flags
    flags = known.items() if isinstance(known, dict) else ()
    changed = [f"{name} {was!r} became {now[name]!r}" for name, was in flags if name in now and was != now[name]]
    if changed:
        yield f"{', '.join(changed)}: from here on the last digits may differ"
    yield f"resumed at step {step} of {setup.total} from {folder.name}"

    old, new, changed = before.train, setup.config.train, []
    if old.epochs != new.epochs:
        spans = f"the {new.schedule.kind} schedule now spans all of them"
        changed.append(f"{old.epochs} epochs became {new.epochs}: {spans}")
    if old.optimizer.lr != new.optimizer.lr:
        changed.append(f"the optimizer's lr {old.optimizer.lr:.4g} became {new.optimizer.lr:.4g}")
    if old.schedule != new.schedule:
        changed.append(f"the schedule {old.schedule.kind} became {new.schedule.kind}")
    if changed:
        was = float(LearningRate(old, setup.per_epoch, setup.per_epoch * old.epochs)(max(step - 1, 0)))
        rate = float(setup.learning_rate(step))
        yield f"{'; '.join(changed)}; the learning rate goes on at {rate:.4g} (it was {was:.4g})"
