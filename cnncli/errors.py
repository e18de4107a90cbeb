"""The errors that a user can meet, and their exit codes.

An error is printed without a traceback: the place, what is wrong, what was expected, what to try. Several problems of
one file are one error that lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

Location = tuple[int | str, ...]  # of a value in a config: ("model", "layers", 3)


@dataclass(frozen=True)
class Place:
    """``file:line:column``, counted from 1. Without a line it is the file as a whole, or the command line."""

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
        place = f"{self.place}  " if self.place else ""
        path = f"{self.path}: " if self.path else ""
        stop = "" if self.text.endswith((".", "!", "?")) else "."
        hint = f"{stop} {self.hint}" if self.hint else ""
        return printable(f"{place}{path}{self.text}{hint}")

    def document(self) -> dict[str, Any]:
        """The problem as ``--json`` prints it."""
        place = vars(self.place) if self.place else dict.fromkeys(("file", "line", "column"))
        return {**place, "path": self.path, "message": self.text, "hint": self.hint}


def printable(text: str) -> str:
    """Escape control characters, such as terminal escapes and newlines, in text that came from a file."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class CnnError(Exception):
    """Base class of all errors that the user can mend. ``exit_code``: of the process; 70 is kept for bugs of ours."""

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
    """The machine cannot do it: disk, lock, memory, device."""

    exit_code = 4


class CheckpointError(CnnError):
    """A checkpoint or run directory is missing, damaged or of another network."""

    exit_code = 5


class DivergedError(CnnError):
    """The loss, a parameter or a statistic is NaN or infinite."""

    exit_code = 6


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether Python or XLA could not allocate. XLA raises RuntimeError, which has no code but the message."""
    message = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in message or "Out of memory" in message


class ShapeError(ValueError):
    """A layer does not fit its input. The graph adds the place. ``hint``: what to try."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
