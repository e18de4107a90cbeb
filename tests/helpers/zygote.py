"""Commands in processes of their own, a moment after they are asked for: everything is imported before the fork.

Forking is safe here, and only here: the parent has one thread and has not started JAX's backend.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Child:
    """A command under way."""

    pid: int
    zygote: "Zygote"
    output: Path

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.pid, signum)

    def wait(self) -> int:
        """Exit code, negative for a signal."""
        self.zygote.running.discard(self.pid)
        return self.zygote.ask({"wait": self.pid})

    def said(self) -> str:
        """Both streams so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")


class Zygote:
    """Starts ``cnn`` quickly, many times."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True, env=environment)

    def cnn(self, *arguments: object, cwd: Path) -> Child:
        """Start a command; its streams go to a file."""
        output = cwd / "output.txt"
        output.write_bytes(b"")
        child = Child(self.ask({"run": [str(each) for each in arguments], "cwd": str(cwd)}), self, output)
        self.running.add(child.pid)
        return child

    def ask(self, what: dict) -> int:
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        for pid in self.running:  # left by a test that failed
            os.kill(pid, signal.SIGKILL)
        with self.process:  # closes its pipes, then waits
            pass


def serve() -> None:
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
