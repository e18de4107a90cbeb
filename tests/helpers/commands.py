"""Runs ``cnn`` in this process, as it would be typed."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

# Words of Python and its libraries, which mean nothing to somebody who writes YAML.
FOREIGN = re.compile(r"Traceback|pydantic|Input should|Value error|\btuple\b|\bdict\b|NoneType|\bstr\b|\{\{|has a bug")


@dataclass(frozen=True)
class Outcome:
    """A command's exit code and its output."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines of stderr without ``error: ``."""
        return [line.removeprefix("error: ") for line in self.err.splitlines()]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``run("inspect", "x.yaml")``: exit code and output of a command in this process."""
    from cnncli.cli.main import main

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["cnn", *map(str, arguments)])
        handler = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(SystemExit) as left:
                main()
        finally:
            signal.signal(signal.SIGINT, handler)
        streams = capsys.readouterr()
        return Outcome(int(left.value.code or 0), streams.out, streams.err)

    return run
