"""The list of a folder's images: which layout the folder has, its classes, and the files of each split."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from cnncli.data.labels import check_classes
from cnncli.data.splits import SplitName, split_off_by_name
from cnncli.lazy import lazy_imports
from cnncli.safe_files import data_error, reason
from cnncli.spec import did_you_mean
from cnncli.text import joined

with lazy_imports():
    import numpy as np

# Suffixes of pictures that are read, and of pictures that have to be converted.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")
UNREAD = (".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".ppm", ".pgm", ".tga")
TRAIN_NAMES, VAL_NAMES, TEST_NAMES = ("train", "training"), ("val", "validation", "valid"), ("test",)
FLAT_TEST_SHARE = 0.1
LAYOUT = "Expected train/<class>/*.jpg with val/ and test/ beside it if there are any, or <class>/*.jpg."

Example = tuple[Path, int]  # file, label


@dataclass(frozen=True)
class FolderIndex:
    """Classes in label order, and the examples of each split, ordered by class and file name.

    ``notes``: which folders were not read, and which classes the test split lacks.
    """

    classes: tuple[str, ...]
    splits: dict[SplitName, list[Example]]
    notes: tuple[str, ...] = ()


def read_index(root: Path, test_share: float | None, any_case: bool = True) -> FolderIndex:
    """List ``root``. ``test_share`` of the training images become the test split, 0.1 in the flat layout if None.

    ``any_case``: whether `Training/` and `Test/` are `train/` and `test/` too.
    """
    names = _folders(root)
    # A folder train/ without class folders in it is a class of that name.
    nested = [name for name in names if name.lower() in TRAIN_NAMES and _folders(root / name)]
    train_folder = _split_folder(root, nested, TRAIN_NAMES if any_case else TRAIN_NAMES[:1], "training", any_case)
    if train_folder is None:
        classes = _classes(root)
        train, test = split_off_test(_examples(root, classes), FLAT_TEST_SHARE if test_share is None else test_share)
        return FolderIndex(classes, {"train": train, "val": [], "test": test}, _classes_without_test(classes, test))
    classes = _classes(root / train_folder)
    train, test = split_off_test(_examples(root / train_folder, classes), test_share or 0.0)
    notes = _classes_without_test(classes, test)
    val_folder = _split_folder(root, names, VAL_NAMES, "validation", any_case)
    test_folder = _split_folder(root, names, TEST_NAMES, "test", any_case)
    if test_folder:
        if test_share:
            raise data_error(root / test_folder, f"is there, and data.source.folder.test: {test_share} asks to split "
                             "one off", "Leave out one of them.")  # fmt: skip
        test = _examples(root / test_folder, classes)
    ignored = [f"{name}/" for name in names if name not in (train_folder, val_folder, test_folder)]
    if ignored:
        notes = (*notes, f"not read, since not called val or test: {joined(ignored)} beside {root / train_folder}")
    val = _examples(root / val_folder, classes) if val_folder else []
    return FolderIndex(classes, {"train": train, "val": val, "test": test}, notes)


def split_off_test(examples: list[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Split off about ``share`` of every class, by a hash of each file's class and name: (train, test)."""
    if not share:
        return examples, []
    names = [os.fsencode(f"{path.parent.name}/{path.name}") for path, _ in examples]
    aside = split_off_by_name(names, np.array([label for _, label in examples]), share)
    return list(compress(examples, ~aside)), list(compress(examples, aside))


def _split_folder(root: Path, names: list[str], known: tuple[str, ...], split: str, any_case: bool) -> str | None:
    """The one of ``names`` that is a split's folder: one of the ``known`` names. DataError where there are two."""
    matches = [name for name in known if name in names]
    matches += [name for name in names if any_case and name not in matches and name.lower() in known]
    if len(matches) > 1:
        raise data_error(root / matches[1], f"stands beside {matches[0]}/", f"One of them can be the {split} split.")
    return matches[0] if matches else None


def _classes_without_test(classes: tuple[str, ...], test: list[Example]) -> tuple[str, ...]:
    """A note on classes of which no image was split off for the test."""
    present = {label for _, label in test}
    lacking = [name for label, name in enumerate(classes) if label not in present]
    if not test or not lacking:
        return ()
    return (f"the {len(test)} test images that were split off hold none of {joined(lacking)}: "
            "a larger data.source.folder.test, or a test/ folder, would measure every class",)  # fmt: skip


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(_folders(folder))
    if not classes:
        raise data_error(folder, "has no class folders", LAYOUT)
    check_classes(classes, folder)
    return classes


def _examples(folder: Path, classes: tuple[str, ...]) -> list[Example]:
    """Every image under ``folder``, which has a folder for each class. A class may be missing, a new one may not."""
    names = _folders(folder)
    if not names:
        raise data_error(folder, "has no class folders", LAYOUT)
    for name in names:
        if name not in classes:
            raise data_error(folder / name, "is a class that train/ does not have", did_you_mean(name, classes))
    labels = {name: label for label, name in enumerate(classes)}
    return [(path, labels[name]) for name in names for path in _images(folder / name)]


def _folders(path: Path) -> list[str]:
    """Names of the folders in a folder, sorted. Hidden ones and macOS's __MACOSX do not count."""
    return [entry.name for entry in _entries(path) if entry.name != "__MACOSX" and _is_folder(entry)]


def _images(folder: Path) -> list[Path]:
    """The JPEG and PNG files of a class folder, by their suffix, sorted by name."""
    entries = _entries(folder)
    suffixes = {entry.name: os.path.splitext(entry.name)[1].lower() for entry in entries}
    unread = [name for name, suffix in suffixes.items() if suffix in UNREAD]
    if unread:
        raise data_error(folder, f"holds {len(unread)} images that are no JPEG or PNG: {joined(unread)}",
                         "Convert them.")  # fmt: skip
    for entry in entries:
        if suffixes[entry.name] not in SUFFIXES and _is_folder(entry):
            raise data_error(Path(entry.path), "is a folder inside a class folder", LAYOUT)
    paths = [folder / name for name, suffix in suffixes.items() if suffix in SUFFIXES]
    if not paths:
        raise data_error(folder, "holds no JPEG or PNG files", LAYOUT)
    return paths


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
