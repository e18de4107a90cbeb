"""Compiled programs in files: whatever lies there, a read returns what was put or nothing, at once, and a put mends."""

import os
import time

import pytest

from cnncli.train.program_cache import ProgramCache

KEY, VALUE = "jit_run-0123", bytes(range(256)) * 8


@pytest.fixture
def cache(tmp_path):
    return ProgramCache(tmp_path, 10_000)


def the_file(cache):
    cache.put(KEY, VALUE)
    (path,) = cache._path.iterdir()
    return path


def test_a_program_is_kept_for_the_next_process(cache):
    assert cache.get(KEY) is None
    cache.put(KEY, VALUE)
    assert ProgramCache(cache._path, 10_000).get(KEY) == VALUE
    assert cache.get("another") is None


def fifo(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def broken_link(path):
    path.symlink_to("nothing")


def empty(path):
    path.write_bytes(b"")


def huge(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize("make", [fifo, endless, broken_link, empty, huge])
def test_what_is_no_program_is_replaced(cache, make):
    path = the_file(cache)
    path.unlink()
    make(path)
    start = time.perf_counter()
    assert cache.get(KEY) is None
    cache.put(KEY, VALUE)
    assert cache.get(KEY) == VALUE
    assert time.perf_counter() - start < 1
    assert list(cache._path.iterdir()) == [path]


@pytest.mark.parametrize("at", [0, 31, 32, 1000, -1])
def test_a_flipped_bit_or_a_cut_is_found_and_mended(cache, at):
    path = the_file(cache)
    content = bytearray(path.read_bytes())
    for damaged in (content[:at] + bytes([content[at] ^ 1]) + content[at:][1:], content[:at]):
        path.write_bytes(damaged)
        assert cache.get(KEY) is None
        assert not path.exists()
        cache.put(KEY, VALUE)
        assert cache.get(KEY) == VALUE


def test_a_sound_program_under_anothers_name_is_not_taken(cache):
    path = the_file(cache)
    cache.put("another", b"other code")
    (other,) = set(cache._path.iterdir()) - {path}
    os.replace(other, path)
    assert cache.get(KEY) is None


def test_a_folder_in_the_way_or_no_folder_at_all(cache, tmp_path):
    path = the_file(cache)
    path.unlink()
    path.mkdir()
    cache.put(KEY, VALUE)
    assert cache.get(KEY) is None
    assert list(cache._path.iterdir()) == [path]
    gone = ProgramCache(tmp_path / "gone", 10_000)
    gone.put(KEY, VALUE)
    assert gone.get(KEY) is None


def test_those_not_used_for_longest_go_first(tmp_path):
    cache = ProgramCache(tmp_path, 3 * (len(VALUE) + 32))
    for number in range(3):
        cache.put(str(number), VALUE)
        os.utime(cache._file(str(number)), (number, number))
    assert cache.get("0") == VALUE  # used now
    cache.put("3", VALUE)
    assert [cache.get(str(number)) == VALUE for number in range(4)] == [True, False, True, True]
    cache.put("large", bytes(4 * len(VALUE)))  # never fits, and nothing else is lost for it
    assert cache.get("0") == VALUE
