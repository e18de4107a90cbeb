"""One process at a time trains a run; the lock ends with the process, however it ends."""

import os
import signal
import subprocess
import sys

import pytest

from cnncli.errors import MachineError
from cnncli.runs.directory import Run, only_trainer

HOLD = """
import sys, time
from pathlib import Path
from cnncli.runs.directory import Run, only_trainer
with only_trainer(Run(Path(sys.argv[1])), print):
    print("held", flush=True)
    time.sleep(600)
"""


def test_another_process_is_named_and_its_lock_dies_with_it(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(MachineError, match=f"process {other.pid} is training this run"), take(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
    with take(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def take(folder):
    return only_trainer(Run(folder), lambda text: None)


def test_it_can_be_taken_again_in_the_same_process_but_not_twice(tmp_path):
    with take(tmp_path), pytest.raises(MachineError, match=f"process {os.getpid()} "), take(tmp_path):
        pass
    with take(tmp_path):
        pass


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(MachineError, match=r"\.lock"), take(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    notes = []
    monkeypatch.setattr("fcntl.flock", refuse)
    with only_trainer(Run(tmp_path), notes.append):
        pass
    assert "no locks (Function not implemented)" in notes[0]
