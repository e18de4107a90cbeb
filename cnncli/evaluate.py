"""A trained network measured on its data, from the run's folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cnncli.errors import DataError
from cnncli.metrics import Result
from cnncli.train.devices import placement
from cnncli.train.events import Events
from cnncli.train.prepare import load_data
from cnncli.train.trained import Trained, on_devices, open_trained
from cnncli.train.validate import evaluate, make_count

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Evaluation:
    """What ``cnn eval`` found."""

    trained: Trained
    split: SplitName
    classes: tuple[str, ...]
    result: Result

    def document(self) -> dict[str, Any]:
        """As ``--json`` gives it."""
        return {
            "checkpoint": str(self.trained.checkpoint),
            "split": self.split,
            "examples": self.result.examples,
            "loss": self.result.loss,
            "accuracy": self.result.accuracy,
            "per_class": self.result.per_class(self.classes),
            "confusion": self.result.confusion.tolist(),
        }


def evaluate_run(path: Path, split: SplitName | None, which: str, events: Events) -> Evaluation:
    """Evaluate a run's ``best`` or ``latest`` checkpoint, or one checkpoint, on a split (test where there is one)."""
    trained = open_trained(path, which, events)
    config = trained.loaded.config
    place = placement(config.train.batch_size)
    events.device(place.describe())
    dataset = load_data(config, trained.loaded.graph, events.loading).dataset
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    split = split or next(name for name in ("test", "val", "train") if splits[name] is not None)
    assert split
    chosen = splits[split]
    if chosen is None:
        there = ", ".join(name for name, each in splits.items() if each)
        raise DataError.of(f"the data has no {split} split", f"There is: {there}.")
    weights, constants = on_devices((trained.shipped, trained.constants), place.whole)
    count = make_count(config, trained.model, len(dataset.classes))
    size = config.train.batch_size

    def progress(done: int, total: int) -> None:
        events.loading(f"evaluating {split}", done, total)

    result = evaluate(count, weights, constants, chosen, size, place.batch, progress)
    return Evaluation(trained, split, dataset.classes, result)
