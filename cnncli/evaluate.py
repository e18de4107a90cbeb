"""A trained network measured on its data, from the run's folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.data.splits import SPLITS, SplitName
from cnncli.errors import CheckpointError, DataError
from cnncli.metrics import MAX_MATRIX, Result
from cnncli.runs.directory import Run, locked
from cnncli.train.checkpointing import Trained, open_trained
from cnncli.train.devices import placement
from cnncli.train.events import Events
from cnncli.train.prepare import load_data
from cnncli.train.step import Evaluator

TOP = 5  # of so many classes the likeliest count too, where there are more


@dataclass(frozen=True)
class Evaluation:
    """What ``cnn eval`` found. ``same_data``: whether it is that of the training; None where the run does not say."""

    trained: Trained
    split: SplitName
    classes: tuple[str, ...]
    result: Result
    same_data: bool | None

    def document(self) -> dict[str, Any]:
        """As ``--json`` gives it."""
        result, confusion = self.result, self.result.confusion
        return {
            "checkpoint": str(self.trained.folder),
            "split": self.split,
            "same_data": self.same_data,
            "examples": result.examples,
            "loss": result.loss,
            "accuracy": result.accuracy,
            "balanced_accuracy": result.balanced_accuracy,
            "macro_f1": result.macro_f1,
            "top5_accuracy": result.top_accuracy(TOP) if len(self.classes) > TOP else None,
            "per_class": result.per_class(self.classes),
            "confusion": None if confusion is None else confusion.tolist(),
        }


def evaluate_run(path: Path, split: SplitName | None, which: str, events: Events) -> Evaluation:
    """Evaluate a run's ``best`` or ``latest`` checkpoint, or one checkpoint, on a split (test where there is one)."""
    trained = open_trained(path, which, events)
    config = trained.loaded.config
    place = placement(config.train.batch_size)
    events.device(place.describe())
    whole, by_split = _recorded(trained.run)
    split = split or next(iter(by_split), None)  # in the order of Dataset.splits
    only = split if split in by_split else None  # an old run knows the SHA-256 of all its data alone: all is read
    data = load_data(config, trained.loaded.graph, events.loading, only)
    splits = data.dataset.splits
    split = split or next(iter(splits))
    if split not in splits:
        raise DataError.of(f"the data has no {split} split", f"There is: {', '.join(splits)}.")
    now, then = (data.dataset.fingerprint(split), by_split[split]) if only else (data.fingerprint, whole)
    if then is not None and now != then:
        events.note(f"this is not the data of the training: its SHA-256 is {now[:12]}..., lock.json has {then[:12]}...")

    def progress(done: int, total: int) -> None:
        events.loading(f"evaluating {split}", done, total)

    classes = data.dataset.classes
    evaluate = Evaluator(config, trained.model, len(classes), place)
    result = evaluate(trained.eval_weights, trained.constants, splits[split], progress)
    if result.confusion is None:
        events.note(f"no confusion matrix: {len(classes):,} classes are more than {MAX_MATRIX:,}")
    return Evaluation(trained, split, classes, result, None if then is None else now == then)


def _recorded(run: Run) -> tuple[str | None, dict[SplitName, str]]:
    """SHA-256 of the training's data, and of each of its splits, from lock.json: nothing where it does not say."""
    try:
        data = locked(run, "data")
    except CheckpointError:
        return None, {}
    if not isinstance(data, dict):
        return None, {}
    whole, splits = data.get("sha256"), data.get("splits")
    found = splits if isinstance(splits, dict) else {}
    known = {name: found[name] for name in SPLITS if isinstance(found.get(name), str)}
    return whole if isinstance(whole, str) else None, known
