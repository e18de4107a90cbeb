"""``cnn`` in this process, as it would be typed."""

import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

# Words of Python and its libraries that mean nothing to who writes YAML.
FOREIGN = re.compile(r"Traceback|pydantic|Input should|Value error|\btuple\b|\bdict\b|NoneType|\bstr\b|\{\{|has a bug")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The problems, without the word before them."""
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
        return Outcome(left.value.code or 0, streams.out, streams.err)

    return run
