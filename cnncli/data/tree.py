"""A folder of images as a list of examples: which layout it has, its classes, and who is in which split."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from cnncli.data.files import check_classes, data_error, reason
from cnncli.spec import did_you_mean

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")
UNREAD = (".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".ppm", ".pgm", ".tga")
VAL_NAMES = ("val", "validation", "valid")
FLAT_TEST_SHARE = 0.1
LAYOUT = "Expected train/<class>/*.jpg with val/ and test/ beside it if there are any, or <class>/*.jpg."

Example = tuple[Path, int]  # file, label


@dataclass(frozen=True)
class Tree:
    """Classes in label order, and the examples of each split, ordered by class and file name."""

    classes: tuple[str, ...]
    train: list[Example]
    val: list[Example] = field(default_factory=list)
    test: list[Example] = field(default_factory=list)


def read_tree(root: Path, share: float | None) -> Tree:
    """List ``root``. ``share`` of the training images becomes the test split, 0.1 in the flat layout if None."""
    if "train" in folders(root) and folders(root / "train"):
        return _split_tree(root, share)
    classes = _classes(root)
    train, test = carve(_examples(root, classes), FLAT_TEST_SHARE if share is None else share)
    return Tree(classes, train, test=test)


def _split_tree(root: Path, share: float | None) -> Tree:
    names = folders(root)
    classes = _classes(root / "train")
    train, test = carve(_examples(root / "train", classes), share or 0.0)
    vals = [name for name in VAL_NAMES if name in names]
    if len(vals) > 1:
        raise data_error(root / vals[1], f"stands beside {vals[0]}/", "One of them can be the validation split.")
    if "test" in names:
        if share:
            raise data_error(root / "test", f"is there, and data.source.folder.test: {share} asks to carve one",
                             "Leave out one of them.")  # fmt: skip
        test = _examples(root / "test", classes)
    return Tree(classes, train, _examples(root / vals[0], classes) if vals else [], test)


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(folders(folder))
    if not classes:
        raise data_error(folder, "has no class folders", LAYOUT)
    check_classes(classes, folder)
    return classes


def _examples(folder: Path, classes: tuple[str, ...]) -> list[Example]:
    """Every image under ``folder``, a folder for each class. A class may be missing, a new one may not."""
    names = folders(folder)
    if not names:
        raise data_error(folder, "has no class folders", LAYOUT)
    for name in names:
        if name not in classes:
            raise data_error(folder / name, "is a class that train/ does not have", did_you_mean(name, classes))
    labels = {name: label for label, name in enumerate(classes)}
    return [(path, labels[name]) for name in names for path in images(folder / name)]


def carve(examples: list[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Split off about ``share`` of every class, by a hash of each file's name: (rest, carved).

    An image stays where it is when others come or go. One image of each class, that with the largest hash, never
    leaves, so that no class is empty.
    """
    if not share:
        return examples, []
    spots = {path: _spot(path) for path, _ in examples}
    stays: dict[int, Path] = {}
    for path, label in examples:
        if label not in stays or spots[path] > spots[stays[label]]:
            stays[label] = path
    carved = {path for path, label in examples if spots[path] < share and stays[label] != path}
    return [e for e in examples if e[0] not in carved], [e for e in examples if e[0] in carved]


def _spot(path: Path) -> float:
    """A file's place in [0, 1), from its class and name."""
    name = os.fsencode(f"{path.parent.name}/{path.name}")
    return int.from_bytes(hashlib.sha256(name).digest()[:6], "big") / 2**48


def folders(path: Path) -> list[str]:
    """Names of the folders in a folder, sorted. Hidden ones and macOS's __MACOSX do not count."""
    return [entry.name for entry in _entries(path) if entry.name != "__MACOSX" and _is_folder(entry)]


def images(folder: Path) -> list[Path]:
    """The JPEG and PNG files right in a class folder, by their suffix, sorted by name."""
    entries = _entries(folder)
    suffixes = {entry.name: os.path.splitext(entry.name)[1].lower() for entry in entries}
    unread = [name for name, suffix in suffixes.items() if suffix in UNREAD]
    if unread:
        listed = ", ".join(unread[:10]) + (", ..." if len(unread) > 10 else "")
        raise data_error(folder, f"holds {len(unread)} images that are no JPEG or PNG: {listed}", "Convert them.")
    for entry in entries:
        if suffixes[entry.name] not in SUFFIXES and _is_folder(entry):
            raise data_error(Path(entry.path), "is a folder inside a class folder", LAYOUT)
    found = [folder / name for name, suffix in suffixes.items() if suffix in SUFFIXES]
    if not found:
        raise data_error(folder, "holds no JPEG or PNG files", LAYOUT)
    return found


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise data_error(path, f"cannot be read: {reason(error)}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a symbolic link to itself
        raise data_error(Path(entry.path), f"cannot be read: {reason(error)}") from None
