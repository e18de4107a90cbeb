"""Bad data through the command line: exit code 3, the file by its name, one line, nothing left behind."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.commands import FOREIGN

CONFIG = """\
data: {{source: {source}, dir: ., validation: 0}}
model: {{input: {input}, layers: [{{fc: {classes}}}, softmax]}}
train: {{epochs: 1, optimizer: {{sgd: 0.1}}, batch_size: 1}}
"""
FOLDER, IDX, NPZ = "{folder: {path: pets}}", "{idx: {train_images: x, train_labels: y}}", "{npz: a.npz}"


def config(source: str) -> None:
    """A network for that source, x.yaml."""
    grey, cifar = source.startswith(("{idx", "{npz")), source.startswith("{cifar")
    shape = [32, 32, 3] if cifar else [8, 8, 1 if grey else 3]
    Path("x.yaml").write_text(CONFIG.format(source=source, input=shape, classes=10 if cifar else 2))


def encoded(form: str = "PNG", image: Image.Image | None = None) -> bytes:
    """A picture of 8x8."""
    out = io.BytesIO()
    (image or Image.new("RGB", (8, 8), (1, 2, 3))).save(out, form)
    return out.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that says so and holds nothing."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\0IEND\xaeB\x60\x82"


def pets(*names: str) -> None:
    """Sound pictures of two classes, or of those named."""
    for name in names or ("cat", "dog"):
        for number in range(3):
            path = Path("pets/train") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded())


def spoilt(data: bytes, name: str = "bad.png") -> None:
    """One more picture, of those bytes."""
    pets()
    Path("pets/train/cat", name).write_bytes(data)


def idx(array: np.ndarray) -> bytes:
    """An IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def idx_pair(images: bytes, labels: bytes) -> None:
    """The files of source idx."""
    Path("x").write_bytes(images)
    Path("y").write_bytes(labels)


def npz(**arrays: np.ndarray) -> None:
    """The file of source npz."""
    np.savez("a.npz", **{"x_train": np.zeros((2, 8, 8), np.uint8), "y_train": np.array([0, 1]), **arrays})


def zip_that_escapes() -> None:
    """A member outside, and nothing inside."""
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("../escaped.npy", b"x")
        archive.writestr("/tmp/escaped.npy", b"x")


def tar_that_escapes() -> None:
    """Members outside in the place of CIFAR's."""
    with tarfile.open("cifar-10-binary.tar.gz", "w:gz") as archive:
        for name in ("../escaped", "/tmp/escaped", "cifar-10-batches-bin/../../test_batch.bin"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


def pipe() -> None:
    """A picture that would block who opens it."""
    pets()
    os.mkfifo("pets/train/cat/pipe.png")


def link(name: str, target: str) -> None:
    """A picture that is a link."""
    pets()
    Path("pets/train/cat", name).symlink_to(target)


ZEROS, LABELS = np.zeros((2, 8, 8)), np.array([0, 1])
BOMB = gzip.compress(idx(ZEROS) + bytes(50_000_000), compresslevel=1)
CIFAR = "{cifar10: {mirrors: []}}"

# (what the corpus calls it, source, what makes it, the file named, what is said)
DATA = [
    ("missing directory", FOLDER, lambda: None, "pets", "no such file"),
    ("empty directory", FOLDER, lambda: os.mkdir("pets"), "pets", "has no class folders"),
    ("one class only", FOLDER, lambda: pets("cat"), "pets/train", "has 1 class: cat"),
    ("truncated PNG", FOLDER, lambda: spoilt(encoded()[:-20]), "pets/train/cat/bad.png", "is cut"),
    ("truncated JPEG", FOLDER, lambda: spoilt(encoded("JPEG")[:-20]), "pets/train/cat/bad.png", "is cut"),
    ("0 bytes", FOLDER, lambda: spoilt(b""), "pets/train/cat/bad.png", "is empty (0 bytes)"),
    ("60,000 x 60,000 bomb", FOLDER, lambda: spoilt(png_of_size(60_000, 60_000)), "pets/train/cat/bad.png",
     "has 60,000 x 60,000 pixels"),
    ("EPS named .png", FOLDER, lambda: spoilt(encoded("EPS")), "pets/train/cat/bad.png", "it is a PostScript file"),
    ("TIFF named .png", FOLDER, lambda: spoilt(encoded("TIFF")), "pets/train/cat/bad.png", "it is a TIFF file"),
    ("IDX count not equal to bytes", IDX, lambda: idx_pair(idx(ZEROS)[:-1], idx(LABELS)), "x", "promises 2 x 8 x 8"),
    ("IDX counts that differ", IDX, lambda: idx_pair(idx(ZEROS), idx(np.array([0, 1, 1]))), "y", "holds 3 labels"),
    ("gzip bomb", IDX, lambda: idx_pair(BOMB, idx(LABELS)), "x", "and holds more"),
    ("label out of range", "{idx: {train_images: x, train_labels: y, classes: [a, b]}}",
     lambda: idx_pair(idx(ZEROS), idx(np.array([0, 9]))), "y", "label 9 at row 1 is out of range"),
    ("npy object array", NPZ, lambda: npz(y_train=np.array([0, None])), "a.npz", "never unpickled"),
    ("class folder with ANSI escapes", FOLDER, lambda: pets("\x1b[31mred", "dog"), "pets/train",
     r"class name '\x1b[31mred' holds the control character U+001B"),
    ("class folder with a newline", FOLDER, lambda: pets("a\nerror: b", "dog"), "pets/train", "U+000A"),
    ("FIFO", FOLDER, pipe, "pets/train/cat/pipe.png", "is a pipe"),
    ("device", FOLDER, lambda: link("zero.png", "/dev/zero"), "pets/train/cat/zero.png", "is a device"),
    ("symlink loop", FOLDER, lambda: link("loop.png", "loop.png"), "pets/train/cat/loop.png", "symbolic links"),
    ("symlink to nothing", FOLDER, lambda: link("gone.png", "gone"), "pets/train/cat/gone.png", "no such file"),
    ("zip member that escapes", NPZ, zip_that_escapes, "a.npz", "has no x_train"),
    ("tar member that escapes", CIFAR, tar_that_escapes, "cifar-10-binary.tar.gz", "does not hold cifar-10-batches"),
]  # fmt: skip


def everything(folder: Path) -> list[str]:
    """All that lies in a folder, links not followed."""
    return sorted(os.path.join(at, name) for at, *kinds in os.walk(folder) for names in kinds for name in names)


@pytest.mark.parametrize("case", DATA, ids=[case[0] for case in DATA])
def test_refused(cnn, tmp_path, case):
    _, source, make, file, says = case
    make()
    config(source)
    before = everything(tmp_path.parent)
    outcome = cnn("train", "x.yaml")
    assert outcome.code == 3, outcome
    (error,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: {file}  ")
    assert says in error
    assert error.isprintable()
    assert not FOREIGN.search(outcome.err)
    assert everything(tmp_path.parent) == before  # a truncated picture is found before a run is made
    assert not os.path.lexists("/tmp/escaped.npy")


@pytest.mark.parametrize("command", ["data", "train"])
def test_markup_in_a_class_name_is_a_name(cnn, command):
    """``[/bold]`` would end a style, or raise, were names taken for markup."""
    npz(classes=np.array(["[/bold]", "[red]"]), x_test=np.zeros((2, 8, 8), np.uint8), y_test=np.array([0, 1]))
    config(NPZ)
    outcome = cnn(command, "x.yaml")
    assert outcome.code == 0, outcome
    shown = cnn("eval", "runs/x-1") if command == "train" else outcome
    assert shown.out.count("[/bold]") == shown.out.count("[red]") > 0


def test_a_file_deleted_during_the_epoch(cnn, monkeypatch):
    """Pictures are all in memory before step 1: what happens to the files afterwards changes nothing."""
    from cnncli.train import prepare

    pets()
    real = prepare.load_data

    def and_delete(*arguments):
        data = real(*arguments)
        for path in Path("pets").rglob("*.png"):
            path.unlink()
        return data

    monkeypatch.setattr("cnncli.train.trainer.load_data", and_delete)
    config(FOLDER)
    outcome = cnn("train", "x.yaml")
    assert outcome.code == 0, outcome


def test_debug_shows_where(cnn, monkeypatch):
    monkeypatch.setenv("CNN_DEBUG", "1")
    config(FOLDER)
    outcome = cnn("train", "x.yaml")
    assert outcome.code == 3
    assert "Traceback" in outcome.err


@pytest.mark.parametrize("command", ["data", "train"])
@pytest.mark.parametrize(
    ("call", "name"),
    [("scandir", "pets/train/cat"), ("stat", "pets/train/cat/1.png"), ("open", "pets/train/cat/1.png")],
    ids=["folder", "folder that may be listed only", "picture"],
)
def test_what_may_not_be_read_is_named(cnn, monkeypatch, command, call, name):
    """The system's refusal is put in its place: permissions do not bind who runs the tests as root."""
    real = getattr(os, call)

    def refuse(path, *arguments, **options):
        if str(path) == name:
            raise PermissionError(13, "Permission denied", name)
        return real(path, *arguments, **options)

    pets()
    config(FOLDER)
    monkeypatch.setattr(os, call, refuse)
    outcome = cnn(command, "x.yaml")
    assert outcome.code == 3, outcome
    assert f"error: {name}  cannot be read: permission denied" in outcome.err.splitlines()
