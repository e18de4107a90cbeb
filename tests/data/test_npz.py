"""Arrays in .npz files: what is accepted and how it is converted, what is refused."""

import contextlib
import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnncli import machine
from cnncli.data.sources.npz import Npz, read_npz
from cnncli.errors import DataError, MachineError
from cnncli.safe_files import open_data_file

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
X = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(np.uint8)
Y = np.array([0, 1])


def load(tmp_path, series=False, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return Npz(path=str(tmp_path / "a.npz"), series=series).load(None, lambda *_: None)


def test_grey_images_get_a_channel(tmp_path):
    data = load(tmp_path, x_train=X, y_train=Y, x_test=X[:1], y_test=Y[:1], x_val=X, y_val=Y, other=np.zeros(3))
    assert data.train.images.shape == (2, 3, 4, 1)
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int32
    assert (len(data.val), len(data.test)) == (2, 1)
    assert data.classes == ("0", "1")


@pytest.mark.parametrize(
    ("x", "series", "shape", "dtype"),
    [
        (X.astype(np.float64) / 255, False, (2, 3, 4, 1), np.float32),
        (X.astype(np.float16), False, (2, 3, 4, 1), np.float32),
        (X.astype(">u2"), False, (2, 3, 4, 1), np.uint8),
        (X.astype(np.int64), True, (2, 3, 4), np.uint8),
        (X.reshape(2, 12), False, (2, 12), np.uint8),
        (np.asfortranarray(X[..., None]), False, (2, 3, 4, 1), np.uint8),
    ],
)
def test_conversions(tmp_path, x, series, shape, dtype):
    images = load(tmp_path, series, x_train=x, y_train=Y[:, None].astype(np.uint8)).train.images
    assert images.shape == shape
    assert images.dtype == dtype
    assert np.allclose(images.ravel(), np.asarray(x).ravel())


def test_images_that_are_not_wanted_have_no_rows(tmp_path):
    arrays = {"x_train": X.astype(np.int64), "y_train": Y, "x_test": X[:1], "y_test": Y[:1]}
    whole = load(tmp_path, **arrays)
    source = Npz(path=str(tmp_path / "a.npz"))
    for wanted, rows in (("test", (0, 1)), ("train", (2, 0)), ("val", (2, 0))):  # val is split off from train
        part = source.load(None, lambda *_: None, (wanted,))
        assert (len(part.train), len(part.test)) == rows
        assert (part.image_shape, part.classes) == ((3, 4, 1), ("0", "1"))
        kept = "train" if wanted == "val" else wanted
        assert part.fingerprint(kept) == whole.fingerprint(kept)


def test_class_names(tmp_path):
    assert load(tmp_path, x_train=X, y_train=Y, classes=np.array(["cat", "dog", "cow"])).classes == (
        "cat",
        "dog",
        "cow",
    )


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x_test": X, "y_test": Y}, "has no x_train"),
        ({"x_train": X}, "has x_train, but no y_train"),
        ({"x_train": X, "y_train": Y, "y_val": Y}, "has y_val, but no x_val"),
        ({"x_train": X, "y_train": Y[:1]}, "holds 1 labels for 2 images|has 1 class"),
        ({"x_train": X, "y_train": np.array([0, 1, 1])}, "holds 3 labels for 2 images"),
        ({"x_train": X, "y_train": np.array([0, -1])}, "y_train holds -1"),
        ({"x_train": X, "y_train": np.array([0, 2**40])}, "y_train holds 1099511627776"),
        ({"x_train": X, "y_train": np.array([0, 2**30])}, "label 1073741824 is out of range"),
        ({"x_train": X, "y_train": np.array([0.0, 1.0])}, "labels are whole numbers"),
        ({"x_train": X, "y_train": np.eye(2)}, "argmax"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "label 2 at row 1 is out of range"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "x_test is uint8 of shape"),
        ({"x_train": X, "y_train": Y, "x_test": X / 255, "y_test": Y}, "x_test is float32 of shape"),
        ({"x_train": X.astype(np.uint16) + 1000, "y_train": Y}, "uint16 from 1000 to 1023"),
        ({"x_train": X.astype(np.int8) - 1, "y_train": Y}, "int8 from -1"),
        ({"x_train": X / np.nan, "y_train": Y}, "NaN or infinity"),
        ({"x_train": X * 1e300, "y_train": Y}, "NaN or infinity"),
        ({"x_train": X > 3, "y_train": Y}, "x_train holds bool"),
        ({"x_train": X.astype(complex), "y_train": Y}, "x_train holds complex"),
        ({"x_train": X.astype(str), "y_train": Y}, "x_train holds <U"),
        ({"x_train": X[0, 0], "y_train": Y}, "x_train has shape"),
        ({"x_train": X[:0], "y_train": Y}, "x_train has shape"),
        ({"x_train": X.astype(object), "y_train": Y}, "x_train holds Python objects"),
        ({"x_train": X, "y_train": Y.astype(object)}, "y_train holds Python objects"),
        ({"x_train": X, "y_train": Y, "classes": np.array(["a", "b"], object)}, "classes holds Python objects"),
        ({"x_train": X, "y_train": Y, "classes": np.array([1, 2])}, "classes is int64"),
        ({"x_train": X, "y_train": Y, "classes": np.array(["a", "a"])}, "there twice"),
        ({"x_train": X, "y_train": Y, "classes": np.array(["a", "b\n"])}, "control character"),
        ({"x_train": X, "y_train": Y, "classes": np.array([97, 0x110000], "<u4").view("<U1")}, "are no characters"),
        ({"x_train": X, "y_train": Y, "classes": np.array([97, 1 << 31], ">u4").view(">U1")}, "are no characters"),
        ({"x_train": X, "y_train": Y * 0}, "has 1 class: 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_refused(tmp_path, arrays, says):
    with pytest.raises(DataError, match=says) as caught:
        load(tmp_path, **arrays)
    assert str(caught.value).startswith(str(tmp_path / "a.npz"))


def test_a_pickle_runs_nothing(tmp_path):
    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    with pytest.raises(DataError, match="never unpickled"):
        load(tmp_path, x_train=np.array([Canary(), 1], object), y_train=Y)
    assert not (tmp_path / "canary").exists()


def packed(name="x_train.npy", shape="(2, 3, 4)", data=bytes(24), descr="'|u1'"):
    """An archive with one hand-made member."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an .npz file"),
        (b"\x80\x04K\x01.", "not an .npz file"),
        (packed(data=bytes(23)), "does not hold what its header says"),
        (packed(data=bytes(2000), shape="(2,)"), "does not hold what its header says"),
        (packed(shape="(100000, 100000, 100000)"), "promises uint8 of shape"),
        (packed(shape="(-1, 3)"), "damaged|promises"),
        (packed(shape="__import__('os')"), "damaged"),
        (packed(descr="'O'"), "Python objects"),
        (packed(descr="[('a', 'O')]"), "Python objects"),
        (packed(name="../../x_train.npy"), "has no x_train"),
    ],
)
def test_bad_archives(tmp_path, data, says):
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match=says):
        Npz(path=str(tmp_path / "a.npz")).load(None, lambda *_: None)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes(packed(shape="(1000, 1000, 10)", data=bytes(10_000_000)))
    monkeypatch.setattr(machine, "available_memory", lambda: 1_000_000)
    with pytest.raises(MachineError, match=r"take 10.0 MB of memory, 1.0 MB are free"):
        Npz(path=str(tmp_path / "a.npz")).load(None, lambda *_: None)


def bomb(method, size, promised=None):
    """x_train.npy of ``size`` zeros, packed by ``method``; it says that it holds ``promised`` bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1, size)})
        with archive.open("x_train.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))
    data = out.getvalue()
    if promised:
        at = data.index(b"PK\1\2") + 24
        data = data[:at] + struct.pack("<I", promised) + data[at + 4 :]
    return data


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_in_ways_that_know_no_bound(tmp_path, method):
    """A few kB of bzip2 unpack to gigabytes at once, whatever is promised."""
    data = bomb(method, 16 << 20, promised=1000)
    assert len(data) < 12_000
    (tmp_path / "a.npz").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x_train\.npy is packed in a way that NumPy does not write"):
        Npz(path=str(tmp_path / "a.npz")).load(None, lambda *_: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("promised", [1000, 1 << 31])
def test_deflated_bombs(tmp_path, promised):
    """What is promised bounds what is unpacked, and the file's size what is promised."""
    (tmp_path / "a.npz").write_bytes(bomb(zipfile.ZIP_DEFLATED, 16 << 20, promised))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"promises|is damaged"):
        Npz(path=str(tmp_path / "a.npz")).load(None, lambda *_: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_an_array_is_in_memory_once_while_it_is_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x_train=np.zeros((2, 1 << 24), np.uint8), y_train=Y)
    with open_data_file(tmp_path / "a.npz") as stream:
        tracemalloc.start()
        arrays = read_npz(stream, tmp_path / "a.npz")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert arrays["x_train"].nbytes == 32 << 20
    assert peak < 40 << 20


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_cut_at_any_byte(tmp_path, save):
    save(tmp_path / "a.npz", x_train=X, y_train=Y)
    data = (tmp_path / "a.npz").read_bytes()
    for cut in range(len(data)):
        (tmp_path / "b.npz").write_bytes(data[:cut])
        with pytest.raises(DataError):
            Npz(path=str(tmp_path / "b.npz")).load(None, lambda *_: None)


@same_folder
@given(at=st.integers(0, 10**4), byte=st.integers(0, 255))
def test_a_changed_byte_gives_data_or_a_data_error(tmp_path, at, byte):
    np.savez_compressed(tmp_path / "a.npz", x_train=X, y_train=Y)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[at % len(data)] = byte
    (tmp_path / "a.npz").write_bytes(data)
    with contextlib.suppress(DataError, MachineError):
        Npz(path=str(tmp_path / "a.npz")).load(None, lambda *_: None)
