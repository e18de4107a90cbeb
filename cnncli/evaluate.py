"""Evaluation of a trained network on its data, from the run folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cnncli.errors import DataError
from cnncli.metrics import Result
from cnncli.train.checkpointing import Trained, open_trained
from cnncli.train.devices import placement
from cnncli.train.events import Events
from cnncli.train.prepare import load_data
from cnncli.train.step import Evaluator

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Evaluation:
    """The result of ``cnn eval``."""

    trained: Trained
    split: SplitName
    classes: tuple[str, ...]
    result: Result

    def document(self) -> dict[str, Any]:
        """As ``--json`` gives it."""
        return {
            "checkpoint": str(self.trained.folder),
            "split": self.split,
            "examples": self.result.examples,
            "loss": self.result.loss,
            "accuracy": self.result.accuracy,
            "per_class": self.result.per_class(self.classes),
            "confusion": self.result.confusion.tolist(),
        }


def evaluate_run(path: Path, split: SplitName | None, which: str, events: Events) -> Evaluation:
    """Evaluate a run's ``best`` or ``latest`` checkpoint, or one checkpoint, on a split (test if there is one)."""
    trained = open_trained(path, which, events)
    config = trained.loaded.config
    place = placement(config.train.batch_size)
    events.device(place.describe())
    dataset = load_data(config, trained.loaded.graph, events.loading).dataset
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    name = split or ("test" if dataset.test else "val" if dataset.val else "train")
    chosen = splits[name]
    if chosen is None:
        there = ", ".join(name for name, each in splits.items() if each)
        raise DataError.of(f"the data has no {name} split", f"There is: {there}.")

    def progress(done: int, total: int) -> None:
        events.loading(f"evaluating {name}", done, total)

    evaluate = Evaluator(config, trained.model, len(dataset.classes), place)
    result = evaluate(trained.eval_weights, trained.constants, chosen, progress)
    return Evaluation(trained, name, dataset.classes, result)
