"""Every command of the README does what it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]


def test_the_two_lines_are_there():
    assert any("pip install" in line and "cnn train configs/digits.yaml" in line for line in LINES)
    assert any("pip install" in line and "pytest" in line for line in LINES)


def test_the_tour_runs_as_written(tmp_path):
    tour = [line for line in LINES if line.startswith("cnn ")]
    assert len(tour) >= 10
    for line in tour:
        command = [sys.executable, "-m", "cnncli", *shlex.split(line)[1:]]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_every_file_the_readme_names_is_there():
    for name in re.findall(r"`((?:configs|tests|cnncli)/[\w./-]+)`", TEXT):
        assert (ROOT / name).exists(), name


def test_ci_runs_the_test_line():
    """.ci/run installs and tests with the README's own commands, in an environment of its own."""
    (line,) = (line for line in LINES if line.endswith("pytest"))
    commands = [part.strip().replace(".venv/bin/", "") for part in line.split("&&")][1:]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert len(commands) == 2
    assert [each for each in script if each in commands] == commands
    assert script[-1] == commands[-1], "the last command prints the test runner's closing line"
