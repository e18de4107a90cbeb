"""Starts commands quickly: a server process imports everything once and forks a child for each command.

Forking is safe only here: the server has one thread and has not started JAX's backend.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Child:
    """A running command."""

    pid: int
    server: ForkServer
    output: Path

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.pid, signum)

    def wait(self) -> int:
        """The exit code; the negative signal number if a signal ended it."""
        self.server.running.discard(self.pid)
        return self.server.ask({"wait": self.pid})

    def said(self) -> str:
        """Its output so far, stdout and stderr together."""
        return self.output.read_text(encoding="utf-8", errors="replace")


class ForkServer:
    """The client's side: starts commands and waits for them."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "tests.helpers.fork_server"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)

    def cnn(self, *arguments: object, cwd: Path) -> Child:
        """Start a command; its output goes to ``output.txt`` in ``cwd``."""
        output = cwd / "output.txt"
        output.write_bytes(b"")
        child = Child(self.ask({"run": [str(each) for each in arguments], "cwd": str(cwd)}), self, output)
        self.running.add(child.pid)
        return child

    def ask(self, request: dict[str, object]) -> int:
        """The server's answer: a process's number, or an exit code."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """Kill commands that a failed test left running, and end the server."""
        for pid in self.running:
            os.kill(pid, signal.SIGKILL)
        with self.process:
            # Leaving the block closes its pipes, then waits.
            pass


def serve() -> None:
    """The server's side: answer requests on stdin until it is closed."""
    import jax  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import optax  # noqa: F401

    import cnncli.cli.main
    import cnncli.evaluate
    import cnncli.report.plots
    import cnncli.report.training
    import cnncli.train.trainer  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        print(_wait(asked["wait"]) if "wait" in asked else _run(asked["run"], asked["cwd"]), flush=True)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run(arguments: list[str], cwd: str) -> int:
    assert len(os.listdir("/proc/self/task")) == 1, "forking with threads is not safe"
    pid = os.fork()
    if pid:
        return pid
    os.chdir(cwd)
    descriptor = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = ["cnn", *arguments]
    from cnncli.cli.main import main

    main()
    sys.exit(0)


if __name__ == "__main__":
    serve()
