"""CIFAR's binary files, loose and archived, honest and not."""

import dataclasses
import gzip
import io
import os
import tarfile

import numpy as np
import pytest

from cnncli.data.sources.cifar import Cifar10, Cifar100
from cnncli.errors import DataError


def quiet(what, done, total):
    pass


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Files of a few images, and a cache and environment of our own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CNN_DATA_DIR", raising=False)
    for source in (Cifar10, Cifar100):
        few = dict.fromkeys(source.layout.files, 3)
        monkeypatch.setattr(source, "layout", dataclasses.replace(source.layout, files=few))


def records(count, label_bytes, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    y = rng.integers(0, 10, (count, label_bytes), np.uint8)
    return x, y, np.concatenate([y, x.transpose(0, 3, 1, 2).reshape(count, -1)], axis=1).tobytes()


def contents(source):
    layout = source.layout
    return {name: records(3, layout.label_bytes, seed) for seed, name in enumerate(layout.files)}


def archive(members, packed=True):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if packed else "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def honest(source):
    return {f"{source.layout.folder}/{name}": data for name, (_, _, data) in contents(source).items()}


@pytest.mark.parametrize("source", [Cifar10, Cifar100])
@pytest.mark.parametrize("where", ["", "kind", "folder", "kind/folder", "archive", "kind/archive"])
def test_found_wherever_it_may_lie(tmp_path, source, where):
    layout = source.layout
    place = tmp_path / where.replace("kind", source.kind).replace("folder", layout.folder).replace("archive", "")
    place.mkdir(parents=True, exist_ok=True)
    if where.endswith("archive"):
        (place / layout.archive.name).write_bytes(archive(honest(source)))
    else:
        for name, (_, _, data) in contents(source).items():
            (place / name).write_bytes(data)
    data = source(mirrors=()).load(tmp_path, quiet)
    x, y, _ = list(contents(source).values())[-1]
    assert np.array_equal(data.test.images, x)
    assert np.array_equal(data.test.labels, y[:, -1])  # CIFAR-100: the fine label
    assert len(data.train) == 3 * (len(layout.files) - 1)
    assert data.train.images.shape[1:] == source().image_shape()
    assert len(data.classes) == source().class_count()
    part = source(mirrors=()).load(tmp_path, quiet, ("test",))
    assert part.fingerprint("test") == data.fingerprint("test")
    assert (len(part.train), part.image_shape) == (0, (32, 32, 3))


def test_what_to_put_where(tmp_path):
    with pytest.raises(DataError) as caught:
        Cifar10(mirrors=()).load(tmp_path, quiet)
    for part in ("cifar-10-binary.tar.gz", str(tmp_path / "cifar10"), str(tmp_path / "cache/cnncli/cifar10")):
        assert part in str(caught.value)


def test_pickles_are_not_seen(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DataError, match="is not on this machine"):
        Cifar10(mirrors=()).load(tmp_path, quiet)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-1], "has 9,218 bytes where 9,219 are due"),
        (lambda data: data + b"!", "has more bytes where 9,219 are due"),
        (lambda data: b"\x0a" + data[1:], "label 10 at row 0 is out of range"),
        (None, "has data_batch_1.bin, but not test_batch.bin"),
    ],
)
def test_damaged_files(tmp_path, change, says):
    for name, (_, _, data) in contents(Cifar10).items():
        (tmp_path / name).write_bytes(data)
    last = tmp_path / "test_batch.bin"
    last.write_bytes(change(last.read_bytes())) if change else last.unlink()
    with pytest.raises(DataError, match=says):
        Cifar10(mirrors=()).load(tmp_path, quiet)


def bad_archives():
    good = {f"cifar-10-batches-bin/data_batch_{i}.bin": bytes(9219) for i in range(1, 6)}
    test = "cifar-10-batches-bin/test_batch.bin"
    whole = archive({**good, test: bytes(9219)})
    yield "empty", b"", "is damaged|does not hold"
    yield "no gzip", b"hello" * 100, "is damaged"
    yield "cut", whole[: len(whole) // 2], "is damaged|ends inside|does not hold"
    yield "member missing", archive(good), "does not hold cifar-10-batches-bin/test_batch.bin"
    yield "member short", archive({**good, test: bytes(9000)}), "test_batch.bin has 9,000 bytes where 9,219 are due"
    yield "escapes", archive({**good, "../test_batch.bin": bytes(9219)}), "does not hold"
    yield "absolute", archive({**good, "/tmp/test_batch.bin": bytes(9219)}), "does not hold"
    yield "bomb", archive({"zeros": bytes(30_000_000)}), "unpacks to far more"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        link = tarfile.TarInfo(test)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    yield "link", out.getvalue(), "does not hold"


@pytest.mark.parametrize(("name", "data", "says"), [*bad_archives()])
def test_bad_archives(tmp_path, name, data, says):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(data)
    with pytest.raises(DataError, match=says):
        Cifar10(mirrors=()).load(tmp_path, quiet)
    assert os.listdir(tmp_path) == ["cifar-10-binary.tar.gz"]


def test_archive_cut_anywhere(tmp_path):
    raw = archive(honest(Cifar100), packed=False)
    whole = gzip.compress(raw, compresslevel=0)
    end = len(whole) - 10240  # the padding after the last file may be lost
    for cut in range(0, end - 512, 997):
        (tmp_path / "cifar-100-binary.tar.gz").write_bytes(whole[:cut])
        with pytest.raises(DataError):
            Cifar100(mirrors=()).load(tmp_path, quiet)
