"""Arrays in one .npz file. Never unpickles; every size is checked before memory is taken."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, BinaryIO, ClassVar

from pydantic import Field
from typing_extensions import override

from cnncli.data.labels import check_classes, check_labels, numbered_classes
from cnncli.data.sources.source import Progress, Source
from cnncli.data.splits import SPLITS, ArraySplit, Dataset, SplitName, splits_to_read
from cnncli.errors import CnnError
from cnncli.lazy import lazy_imports
from cnncli.machine import require_memory
from cnncli.paths import PathText, user_path
from cnncli.safe_files import DEFLATE_RATIO, data_error, open_data_file, read_into

with lazy_imports():
    import numpy as np

ARRAYS = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test", "classes")
MAX_CHARACTER = 0x10FFFF  # Unicode's last


class Npz(Source):
    """NumPy arrays in one .npz file: `x_train`, `y_train`, and if there are any `x_val`, `y_val`, `x_test`, `y_test`.

    Images: (N, H, W, C), or (N, H, W) grey, which get a channel axis; (N, units) stays as it is. uint8 and float32 stay
    too; float16 and float64 become float32; other whole numbers become uint8 if all lie in 0..255, and are refused
    otherwise (16-bit images: divide by 65535 to float32 first). Labels: whole numbers from 0, (N,) or (N, 1). Class
    names: array `classes` of text, or 0 up to the largest training label. Pickled (object) arrays are refused.
    Source: numpy.lib.format.

    Example: `npz: {path: images.npz}`
    """

    shorthand: ClassVar[str | None] = "path"
    aliases: ClassVar[tuple[str, ...]] = ("numpy", "npy", "arrays")

    path: PathText = Field(description=".npz file, as numpy.savez or savez_compressed writes it")
    series: bool = Field(False, description="arrays of 3 axes are (N, length, channels), not grey images (N, H, W)")

    @override
    def load(self, folder: Path | None, progress: Progress, wanted: Collection[SplitName] = SPLITS) -> Dataset:
        path = user_path(self.path)
        with open_data_file(path) as stream:
            arrays = read_npz(stream, path, wanted)
        needed = splits_to_read(wanted, own_val="x_val" in arrays)
        splits = {name: self._split(arrays, name, path, name in needed) for name in reversed(SPLITS)}
        train = splits["train"]
        if train is None:
            raise data_error(path, "has no x_train and y_train", f"It has {', '.join(arrays) or 'no known array'}.")
        classes = _class_names(arrays, arrays["y_train"], path)
        for name, split in splits.items():
            if split is not None:
                check_labels(split.labels, len(split.images), len(classes), path)
                _require_same_kind(path, name, split.images, train.images)
        return Dataset(classes, train, splits["val"], splits["test"])

    def _split(self, arrays: dict[str, np.ndarray], split: SplitName, path: Path, read: bool) -> ArraySplit | None:
        x, y = (arrays.get(f"{axis}_{split}") for axis in "xy")
        if x is None and y is None:
            return None
        if x is None or y is None:
            present, missing = ("xy", "yx")[x is None]
            raise data_error(path, f"has {present}_{split}, but no {missing}_{split}")
        if not 2 <= x.ndim <= 4 or (read and x.size == 0):
            raise data_error(path, f"x_{split} has shape {x.shape}", "Images are (N, H, W, C) or (N, H, W).")
        images, labels = _images(x, f"x_{split}", path), _labels(y, f"y_{split}", path)
        grey = x.ndim == 3 and not self.series
        return ArraySplit(images[..., None] if grey else images, labels if read else labels[:0])


def _images(x: np.ndarray, name: str, path: Path) -> np.ndarray:
    """To uint8 or float32; DataError where that would change values."""
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused as such
            x = np.ascontiguousarray(x, np.float32)
        if not np.isfinite(x).all():
            raise data_error(path, f"{name} holds NaN or infinity")
        return x
    if x.dtype.kind not in "ui":
        raise data_error(path, f"{name} holds {x.dtype}", "Images are uint8 or float32.")
    if x.dtype != np.uint8 and len(x) and (int(x.min()) < 0 or int(x.max()) > 255):
        raise data_error(path, f"{name} is {x.dtype} from {x.min()} to {x.max()}",
                         "Whole numbers must lie in 0..255; scale others to float32.")  # fmt: skip
    return np.ascontiguousarray(x, np.uint8)


def _labels(y: np.ndarray, name: str, path: Path) -> np.ndarray:
    """(N,) or (N, 1) whole numbers to (N,) int32."""
    if y.dtype.kind not in "ui" or y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] != 1) or y.size == 0:
        hint = "One-hot labels: np.argmax(y, axis=1)." if y.ndim == 2 else ""
        raise data_error(path, f"{name} is {y.dtype} of shape {y.shape}, labels are whole numbers (N,)", hint)
    y = y.reshape(-1)
    if int(y.min()) < 0 or int(y.max()) > np.iinfo(np.int32).max:
        raise data_error(path, f"{name} holds {y.min() if y.min() < 0 else y.max()}", "Labels count from 0.")
    return y.astype(np.int32)


def _class_names(arrays: dict[str, np.ndarray], labels: np.ndarray, path: Path) -> tuple[str, ...]:
    names = arrays.get("classes")
    if names is not None and (names.dtype.kind != "U" or names.ndim != 1):
        raise data_error(path, f"classes is {names.dtype} of shape {names.shape}",
                         "Class names are text: np.array(['cat', 'dog']).")  # fmt: skip
    if names is not None and names.itemsize and (names.view(f"{names.dtype.byteorder}u4") > MAX_CHARACTER).any():
        raise data_error(path, "classes holds numbers that are no characters")  # NumPy would raise a SystemError
    classes = numbered_classes(labels, path) if names is None else tuple(str(name) for name in names)
    check_classes(classes, path)
    return classes


def _require_same_kind(path: Path, split: str, images: np.ndarray, train: np.ndarray) -> None:
    if images.shape[1:] != train.shape[1:] or images.dtype != train.dtype:
        mine, other = (f"{x.dtype} of shape {x.shape[1:]}" for x in (images, train))
        raise data_error(path, f"x_{split} is {mine}, x_train is {other}, without the first axis")


def read_npz(stream: BinaryIO, path: Path, wanted: Collection[SplitName] = SPLITS) -> dict[str, np.ndarray]:
    """The arrays named in ``ARRAYS``. Images that the ``wanted`` splits do not need have no rows.

    DataError for all that a damaged or hostile file can hold.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            members = {name: archive.getinfo(f"{name}.npy") for name in ARRAYS if f"{name}.npy" in archive.namelist()}
            _require_plausible(list(members.values()), stream.seek(0, 2), path)
            needed = splits_to_read(wanted, own_val="x_val" in members)
            arrays = {}
            for name, info in members.items():
                with archive.open(info) as member:
                    unread = name.startswith("x_") and name.removeprefix("x_") not in needed
                    arrays[name] = _read_array(member, info.file_size, name, path, header_only=unread)
            return arrays
    except zipfile.BadZipFile as error:
        raise data_error(path, f"is damaged or not an .npz file: {error}", "np.savez writes one.") from None
    except CnnError:
        raise
    except Exception as error:  # a parser of damaged or hostile bytes may raise anything
        raise data_error(path, f"is damaged: {error or type(error).__name__}") from None


def _require_plausible(members: list[zipfile.ZipInfo], size: int, path: Path) -> None:
    """Refuse what a file of ``size`` bytes cannot hold, what does not fit into memory, and other compressions."""
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # 3 GB come out of 3 kB of bzip2
            raise data_error(path, f"{member.filename} is packed in a way that NumPy does not write",
                             "Save it with numpy.savez_compressed.")  # fmt: skip
    promised = sum(member.file_size for member in members)
    if promised > DEFLATE_RATIO * size:
        raise data_error(path, f"promises {promised:,} bytes, it cannot hold more than {DEFLATE_RATIO * size:,}",
                         "Fetch it again.")  # fmt: skip
    require_memory(promised, path, "its arrays")


def _read_array(member: IO[bytes], size: int, name: str, path: Path, header_only: bool) -> np.ndarray:
    """One .npy of ``size`` bytes: the header, then exactly as many bytes as its shape says."""
    npy = np.lib.format
    version = npy.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise data_error(path, f"{name} is in version {version[0]}.{version[1]} of the .npy format", "Save it again.")
    shape, by_columns, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(member)
    if dtype.hasobject:
        raise data_error(path, f"{name} holds Python objects, which are never unpickled",
                         "Save it as uint8, float32, whole numbers or text.")  # fmt: skip
    count = math.prod(shape)
    if any(n < 0 for n in shape) or count * dtype.itemsize > size:
        raise data_error(path, f"{name} promises {dtype} of shape {shape}, more than its {size:,} bytes hold")
    if header_only:
        return np.empty((0, *shape[1:]), dtype)
    data = bytearray(count * dtype.itemsize)
    if read_into(member, memoryview(data)) < len(data) or member.read(1):
        raise data_error(path, f"{name} does not hold what its header says, {dtype} of shape {shape}")
    return np.frombuffer(data, dtype, count).reshape(shape, order="F" if by_columns else "C")
