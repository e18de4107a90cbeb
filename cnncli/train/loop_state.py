"""What the training loop knows besides the arrays: where it is, its running means, validation so far, its clock."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import Field

from cnncli.config.schema import TrainSettings
from cnncli.errors import CheckpointError, Place
from cnncli.runs.checkpoint import UNRANKED, rank
from cnncli.runs.directory import Run, json_lines
from cnncli.runs.records import Count, Figures, Finite, Strict

MAX_RESTORES = 3  # after a divergence
LOOK_SECONDS = 0.25  # between two calls that wait for the device


class RunningMean(Strict):
    """Loss and accuracy of the steps so far.

    The sums are Python floats, added in the order of the steps: how steps are grouped into calls changes nothing.
    """

    loss: Finite
    correct: Annotated[int, Field(ge=0, le=1 << 51)]
    steps: Count

    @classmethod
    def empty(cls) -> RunningMean:
        """The mean of no steps."""
        return cls(loss=0.0, correct=0, steps=0)

    def add(self, losses: np.ndarray, correct: np.ndarray) -> None:
        """Add steps: ``losses`` (K,), ``correct`` (K,) images of each batch."""
        for loss in losses.tolist():
            self.loss += loss
        self.correct += int(correct.sum())
        self.steps += len(losses)

    def means(self, batch_size: int) -> dict[str, float]:
        """Loss and accuracy per image."""
        return {"loss": self.loss / self.steps, "accuracy": self.correct / (self.steps * batch_size)}


class LoopState(Strict):
    """Where the loop is. Saved in state.json. ``epoch``, ``log``: means since the last epoch and the last log line."""

    step: Count
    epoch: RunningMean
    log: RunningMean
    # Returns to a checkpoint after a divergence; each halves the learning rate. Format 1 has none.
    restores: Annotated[int, Field(ge=0, le=MAX_RESTORES)] = 0

    @classmethod
    def at_start(cls) -> LoopState:
        """Before the first step."""
        return cls(step=0, epoch=RunningMean.empty(), log=RunningMean.empty())


class SavedState(LoopState):
    """The content of state.json: the loop's state, and what users of the network need."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    image_shape: Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 20)], ...], Field(min_length=1, max_length=3)]
    validation: tuple[Figures, ...] = ()  # in formats 1 and 2; metrics.jsonl has the same


@dataclass
class Validation:
    """Validation figures of the epochs so far. ``waited``: epochs since the last improvement that early_stop counts."""

    config: TrainSettings
    last: dict[str, float] | None = None
    best: tuple[float, float] = UNRANKED
    record: float = -math.inf
    waited: int = -1  # the first epoch improves on nothing, whatever its figures are

    @classmethod
    def of_run(cls, run: Run, config: TrainSettings, step: int, per_epoch: int) -> Validation:
        """Read from metrics.jsonl, up to ``step``. CheckpointError where epochs are missing that early_stop counts."""
        validation, epochs = cls(config), 0
        for line in json_lines(run.metrics):
            if line["kind"] == "epoch" and line["step"] <= step:
                epochs += 1
                validation.add(line["val"])
        if config.early_stop and epochs != step // per_epoch:
            raise CheckpointError.of(f"has {epochs} of the {step // per_epoch} epochs that train.early_stop counts",
                                     "Put it back, or try train.early_stop=null.", Place(str(run.metrics)))  # fmt: skip
        return validation

    def add(self, figures: dict[str, float] | None) -> bool:
        """Add an epoch; whether it is the best so far. ``figures`` is None without a validation split."""
        self.last = figures
        if figures is None:
            return False
        if stop := self.config.early_stop:
            value = figures[stop.metric] * (-1.0 if stop.metric == "loss" else 1.0)
            better = value > self.record + stop.min_delta
            self.record, self.waited = (value, 0) if better else (self.record, self.waited + 1)
        best = rank(figures) > self.best
        self.best = max(self.best, rank(figures))
        return best

    @property
    def stop_reason(self) -> str:
        """Why ``early_stop`` ends training here; empty if it does not."""
        stop = self.config.early_stop
        if stop and self.waited >= stop.patience:
            return f"stopped early: validation {stop.metric} has not improved for {stop.patience} epochs"
        return ""


@dataclass
class Clock:
    """Seconds of this process, and of earlier ones of this run (``spent_before``).

    ``steps_per_look``: how many steps take about ``LOOK_SECONDS``.
    """

    spent_before: float = 0.0
    start: float = field(default_factory=time.perf_counter)
    training: float = 0.0
    images: int = 0
    steps_per_look: int = 1
    epoch_training: float = 0.0
    epoch_images: int = 0

    @property
    def seconds(self) -> float:
        """Since this process began to train."""
        return time.perf_counter() - self.start

    def end_epoch(self) -> tuple[float, float]:
        """(seconds of training, images per second) of the epoch that ends here."""
        seconds, images = self.epoch_training, self.epoch_images
        self.epoch_training, self.epoch_images = 0.0, 0
        return seconds, images / seconds if seconds else 0.0

    def add(self, steps: int, images: int, seconds: float) -> float:
        """Add steps that took ``seconds``; their images per second."""
        self.training += seconds
        self.epoch_training += seconds
        self.images += images
        self.epoch_images += images
        wanted = int(LOOK_SECONDS * steps / seconds) if seconds else 1
        self.steps_per_look = max(1, min(wanted, 2 * self.steps_per_look + 8))
        return images / seconds if seconds else 0.0
