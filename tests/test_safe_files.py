"""Files from outside are opened in one way: regular ones only, nothing waits, nothing is read without a bound."""

import os
import re
import socket
from pathlib import Path

import pytest

from cnncli.errors import DataError
from cnncli.safe_files import is_file, is_folder, open_data_file, read_file


def test_what_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    assert read_file(path, 5) == read_file(tmp_path / "link", 9) == b"12345"
    assert read_file(path, 3) == b"1234"  # one more: it is too large
    with open_data_file(path) as stream:
        assert stream.read(2) == b"12"
    with pytest.raises(OSError, match="it is a link, not a plain file"):
        read_file(tmp_path / "link", 9, links=False)


def test_what_is_not_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path, what in (("pipe", "a pipe"), ("socket", "a socket"), (".", "a folder"), ("/dev/zero", "a device")):
            with pytest.raises(OSError, match=f"it is {what}, not a plain file"):
                read_file(tmp_path / path, 9)


def test_what_is_put_in_the_place_of_a_file_is_refused(tmp_path, monkeypatch):
    """Between the look and the opening."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    found = os.stat(tmp_path / "file")
    monkeypatch.setattr("cnncli.safe_files.os.stat", lambda *_, **__: found)
    with pytest.raises(OSError, match="it is a pipe, not a plain file"):
        read_file(tmp_path / "pipe", 9)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="there is no /proc")
def test_files_of_proc_are_empty():
    """They say so, and some (kmsg) wait or never end."""
    assert read_file(Path("/proc/self/maps"), 9) == b""
    with open_data_file(Path("/proc/self/maps")) as stream:
        assert stream.read() == b""


def test_what_may_not_be_looked_at_is_named(tmp_path, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("cnncli.safe_files.os.stat", refuse)
    for look in (is_file, is_folder):
        with pytest.raises(DataError, match=f"{re.escape(str(tmp_path))}  cannot be read: permission denied"):
            look(tmp_path)
