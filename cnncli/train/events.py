"""What training reports to a listener. Nothing here prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Inside an epoch. ``rate``: images per second of the last call; ``loss``, ``accuracy``: of the epoch so far."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    rate: float


@dataclass(frozen=True)
class EpochRow:
    """One finished epoch (counted from 1). ``seconds``: training and validation, without compilation."""

    epoch: int
    epochs: int
    train: dict[str, float]
    val: dict[str, float] | None
    lr: float
    images_per_second: float
    seconds: float
    best: bool


@dataclass(frozen=True)
class Outcome:
    """A finished training, as ``--json`` gives it."""

    run: Path
    epochs: int
    steps: int
    seconds: float
    compile_seconds: float
    images_per_second: float
    val: dict[str, float] | None
    test: dict[str, float] | None

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**vars(self), "run": str(self.run)}


class Events:
    """A listener that ignores everything; subclasses override what they want to hear."""

    def loading(self, what: str, done: int, total: int) -> None:
        """Data is being read or downloaded."""

    def device(self, device: str) -> None:
        """The devices; reported first."""

    def started(self, run: Path, about: str) -> None:
        """The run folder exists; ``about``: the network and the data in a line."""

    def note(self, text: str) -> None:
        """Something a user should know."""

    def compiling(self) -> None:
        """Programs are being compiled, until ``compiled`` is called."""

    def compiled(self, seconds: float) -> None:
        """The training step is compiled; ``seconds``: including the programs of the first state."""

    def progress(self, progress: Progress) -> None:
        """Some steps are done."""

    def epoch(self, row: EpochRow) -> None:
        """An epoch is done."""

    def finished(self, outcome: Outcome) -> None:
        """Training is over."""
