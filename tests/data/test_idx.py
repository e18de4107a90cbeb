"""IDX files: what was written is read, and nothing but a DataError comes of anything else."""

import contextlib
import gzip
import os
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cnncli.data.sources.idx import Idx, read_idx
from cnncli.errors import DataError

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(path, array, packed=False):
    path.write_bytes(gzip.compress(idx_bytes(array), mtime=0) if packed else idx_bytes(array))
    return path


def load(tmp_path, images, labels, **fields):
    write(tmp_path / "x", np.asarray(images, np.uint8))
    write(tmp_path / "y", np.asarray(labels, np.uint8))
    source = Idx(train_images=str(tmp_path / "x"), train_labels=str(tmp_path / "y"), **fields)
    return source.load(None, lambda *_: None)


@same_folder
@given(array=npst.arrays(np.uint8, npst.array_shapes(min_dims=3, max_dims=3, max_side=5)), packed=st.booleans())
def test_round_trip(tmp_path, array, packed):
    read = read_idx(write(tmp_path / "x", array, packed), 3)
    assert read.dtype == np.uint8
    assert np.array_equal(read, array)


@pytest.mark.parametrize("packed", [False, True])
def test_cut_at_any_byte(tmp_path, packed):
    data = write(tmp_path / "x", np.arange(24, dtype=np.uint8).reshape(2, 3, 4), packed).read_bytes()
    for cut in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:cut])
        with pytest.raises(DataError, match="cut"):
            read_idx(tmp_path / "cut", 3)


@same_folder
@given(data=st.binary(max_size=64), packed=st.booleans(), head=st.sampled_from([b"", b"\0\0\x08\x03", b"\0\0\x08\x01"]))
def test_any_bytes_give_an_array_or_a_data_error(tmp_path, data, packed, head):
    (tmp_path / "x").write_bytes(gzip.compress(head + data) if packed else head + data)
    with contextlib.suppress(DataError):
        assert read_idx(tmp_path / "x", 3).ndim == 3


@same_folder
@given(at=st.integers(0, 60), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_gzip_file(tmp_path, at, bit):
    data = bytearray(write(tmp_path / "x", np.arange(24, dtype=np.uint8).reshape(2, 3, 4), True).read_bytes())
    data[at % len(data)] ^= 1 << bit
    (tmp_path / "x").write_bytes(data)
    with contextlib.suppress(DataError):
        assert np.array_equal(read_idx(tmp_path / "x", 3).ravel(), np.arange(24))  # a bit of gzip's unused header


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "begins with nothing"),
        (b"hello world", "is not an IDX file: it begins with 68 65 6c 6c"),
        (struct.pack(">HBB3I", 0, 0x0D, 3, 1, 1, 1) + b"1234", "holds floats"),
        (idx_bytes(np.zeros(4, np.uint8)), "holds 1 axes where 3 are due"),
        (idx_bytes(np.zeros((2, 2, 2), np.uint8)) + b"!", "2 x 2 x 2 = 8 bytes and holds more"),
        (idx_bytes(np.zeros((2, 2, 2), np.uint8))[:-1], "cannot hold more|holds 7"),
        (struct.pack(">HBB3I", 0, 8, 3, 0, 28, 28), "promises 0 x 28 x 28"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "promises"),
        (struct.pack(">HBB3I", 0, 8, 3, 4, 2**10, 2**18), "cannot hold more than"),
    ],
)
def test_bad_files(tmp_path, data, says):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DataError, match=says):
        read_idx(tmp_path / "x", 3)


def test_gzip_bomb_is_not_unpacked(tmp_path):
    bomb = gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 1, 2, 2) + bytes(100_000_000), compresslevel=1)
    (tmp_path / "x").write_bytes(bomb)
    with pytest.raises(DataError, match="1 x 2 x 2 = 4 bytes and holds more"):
        read_idx(tmp_path / "x", 3)


def test_pipes_devices_folders_loops(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, says in (("pipe", "is a pipe"), ("folder", "is a folder"), ("loop", "symbolic links"), ("no", "no such")):
        with pytest.raises(DataError, match=says):
            read_idx(tmp_path / path, 3)
    with pytest.raises(DataError, match="is a device"):
        read_idx(tmp_path.__class__("/dev/zero"), 3)


def test_source(tmp_path):
    data = load(tmp_path, np.arange(12).reshape(3, 2, 2), [0, 2, 1])
    assert data.train.images.shape == (3, 2, 2, 1)
    assert data.train.labels.dtype == np.int32
    assert data.classes == ("0", "1", "2")
    assert data.test is None


def test_source_with_names_and_test(tmp_path):
    x = str(write(tmp_path / "tx", np.zeros((1, 2, 2), np.uint8)))
    y = str(write(tmp_path / "ty", np.zeros(1, np.uint8)))
    names = ["left", "right"]
    data = load(tmp_path, np.zeros((2, 2, 2)), [0, 1], test_images=x, test_labels=y, classes=names)
    assert data.classes == ("left", "right")
    assert len(data.test) == 1
    with pytest.raises(DataError, match=r"tx.* holds images of 2x2x1, .*x of 3x3x1"):
        load(tmp_path, np.zeros((2, 3, 3)), [0, 1], test_images=x, test_labels=y)


def test_images_that_are_not_wanted_are_not_read(tmp_path):
    images, labels = np.arange(12).reshape(3, 2, 2), [0, 1, 1]
    tests = {f"test_{name}": str(tmp_path / name) for name in ("images", "labels")}
    write(tmp_path / "images", np.array(images[:1], np.uint8))
    write(tmp_path / "labels", np.array([1], np.uint8))
    whole = load(tmp_path, images, labels, **tests)
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-1])
    source = Idx(train_images=str(tmp_path / "x"), train_labels=str(tmp_path / "y"), **tests)
    part = source.load(None, lambda *_: None, ("test",))
    assert (len(part.train), part.image_shape, part.classes) == (0, (2, 2, 1), ("0", "1"))
    assert part.fingerprint("test") == whole.fingerprint("test")
    for wanted in ("train", "val"):  # val is split off from train
        with pytest.raises(DataError, match="and holds 11"):
            source.load(None, lambda *_: None, (wanted,))


@pytest.mark.parametrize(
    ("labels", "names", "says"),
    [
        ([0], None, "holds 1 labels, .* holds 2 images"),
        ([0, 5], ["a", "b"], "label 5 at row 1 is out of range"),
        ([0, 0], None, "has 1 class: 0"),
        ([0, 1], ["a", "a"], "'a' is there twice"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, labels, names, says):
    with pytest.raises(DataError, match=says):
        load(tmp_path, np.zeros((2, 2, 2)), labels, classes=names)
