"""A folder of images as a list of examples: which layout it has, its classes, and who is in which split."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from cnncli.data.files import check_classes, data_error, reason, some
from cnncli.spec import did_you_mean

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")
UNREAD = (".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".ppm", ".pgm", ".tga")
TRAIN_NAMES, VAL_NAMES, TEST_NAMES = ("train", "training"), ("val", "validation", "valid"), ("test",)
FLAT_TEST_SHARE = 0.1
LAYOUT = "Expected train/<class>/*.jpg with val/ and test/ beside it if there are any, or <class>/*.jpg."

Example = tuple[Path, int]  # file, label


@dataclass(frozen=True)
class Tree:
    """Classes in label order, and the examples of each split, ordered by class and file name.

    ``notes``: what was not read, or is too little.
    """

    classes: tuple[str, ...]
    train: list[Example]
    val: list[Example] = field(default_factory=list)
    test: list[Example] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def read_tree(root: Path, share: float | None, any_case: bool = True) -> Tree:
    """List ``root``. ``share`` of the training images becomes the test split, 0.1 in the flat layout if None.

    ``any_case``: whether `Training/` and `Test/` are `train/` and `test/` too.
    """
    names = folders(root)
    nested = [name for name in names if name.lower() in TRAIN_NAMES and folders(root / name)]  # no class of that name
    home = _split_folder(root, nested, TRAIN_NAMES if any_case else TRAIN_NAMES[:1], "training", any_case)
    if home:
        return _split_tree(root, names, home, share, any_case)
    classes = _classes(root)
    train, test = carve(_examples(root, classes), FLAT_TEST_SHARE if share is None else share)
    return Tree(classes, train, test=test, notes=_without_test(classes, test))


def _split_tree(root: Path, names: list[str], home: str, share: float | None, any_case: bool) -> Tree:
    classes = _classes(root / home)
    train, test = carve(_examples(root / home, classes), share or 0.0)
    notes = _without_test(classes, test)
    val_folder = _split_folder(root, names, VAL_NAMES, "validation", any_case)
    test_folder = _split_folder(root, names, TEST_NAMES, "test", any_case)
    if test_folder:
        if share:
            raise data_error(root / test_folder, f"is there, and data.source.folder.test: {share} asks to carve one",
                             "Leave out one of them.")  # fmt: skip
        test = _examples(root / test_folder, classes)
    ignored = [f"{name}/" for name in names if name not in (home, val_folder, test_folder)]
    if ignored:
        notes = (*notes, f"not read, since not called val or test: {some(ignored)} beside {root / home}")
    return Tree(classes, train, _examples(root / val_folder, classes) if val_folder else [], test, notes)


def _split_folder(root: Path, names: list[str], known: tuple[str, ...], what: str, any_case: bool) -> str | None:
    """Which of the folders holds a split. One of its names as it is goes before others in upper case."""
    found = [name for name in known if name in names]
    found += [name for name in names if any_case and name not in found and name.lower() in known]
    if len(found) > 1:
        raise data_error(root / found[1], f"stands beside {found[0]}/", f"One of them can be the {what} split.")
    return found[0] if found else None


def _without_test(classes: tuple[str, ...], test: list[Example]) -> tuple[str, ...]:
    """A word on classes that a carved test split has no image of."""
    present = {label for _, label in test}
    lacking = [name for label, name in enumerate(classes) if label not in present]
    if not test or not lacking:
        return ()
    return (f"the {len(test)} test images that were split off hold none of {some(lacking)}: "
            "a larger data.source.folder.test, or a test/ folder, would measure every class",)  # fmt: skip


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
        raise data_error(folder, f"holds {len(unread)} images that are no JPEG or PNG: {some(unread)}", "Convert them.")
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
