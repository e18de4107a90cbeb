"""The errors a user can meet, their exit codes, and how one prints.

Every error is one screen without a traceback: where, what came, what was expected, what to try. Several problems of
one file are one error that lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

Location = tuple[int | str, ...]  # of a value in a config: ("model", "layers", 3)


@dataclass(frozen=True)
class Place:
    """A position in a text: ``file:line:column``, both counted from 1; no line when the text is a command line."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: ``place  path: message (note). Hint.``.

    ``path``: of the value, ``model.layers[3].conv``. ``note``: which block wrote the value there, if one did.
    """

    message: str
    place: Place | None = None
    path: str = ""
    hint: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """The message with its note."""
        return f"{self.message} ({self.note})" if self.note else self.message

    def __str__(self) -> str:
        where = f"{self.place}  " if self.place else ""
        path = f"{self.path}: " if self.path else ""
        stop = "" if self.text.endswith((".", "!", "?")) else "."
        hint = f"{stop} {self.hint}" if self.hint else ""
        return printable(f"{where}{path}{self.text}{hint}")

    def document(self) -> dict[str, Any]:
        """As ``--json`` gives it."""
        place = vars(self.place) if self.place else dict.fromkeys(("file", "line", "column"))
        return {**place, "path": self.path, "message": self.text, "hint": self.hint}


def printable(text: str) -> str:
    """Neutralise control characters (terminal escapes, newlines) in text that came from a file."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class CnnError(Exception):
    """Base of every error that is the user's to mend. ``exit_code`` is the process's."""

    exit_code = 70

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems

    @classmethod
    def of(cls, message: str, hint: str = "", place: Place | None = None, path: str = "") -> Self:
        """An error of one problem."""
        return cls([Problem(message, place, path, hint)])

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class ConfigError(CnnError):
    """The YAML file, an override or the command line is wrong."""

    exit_code = 2


class DataError(CnnError):
    """The data is missing, damaged or does not fit the network."""

    exit_code = 3


class MachineError(CnnError):
    """The environment refuses: disk, lock, memory, device."""

    exit_code = 4


class CheckpointError(CnnError):
    """A checkpoint or run directory is missing, damaged or of another network."""

    exit_code = 5


class DivergedError(CnnError):
    """Training left the finite numbers."""

    exit_code = 6


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether Python or XLA, whose error is a RuntimeError, could not allocate."""
    said = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in said or "Out of memory" in said


class ShapeError(ValueError):
    """A layer does not fit its input. The graph adds the place; ``hint`` says what to try."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
