"""Classes and probabilities for pictures, or for numbers, from a run alone."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnncli.data.images import decode
from cnncli.data.sources.folder_index import SUFFIXES
from cnncli.data.sources.inline import LARGEST
from cnncli.data.transforms.preprocess import apply_pixels
from cnncli.errors import CheckpointError, DataError, Place
from cnncli.safe_files import data_error, open_data_file, reason
from cnncli.train.checkpointing import Trained, open_trained
from cnncli.train.events import Events
from cnncli.train.step import make_forward

BATCH = 64
BATCH_BYTES = 256 << 20  # of float32 inputs, unless one alone has more
DIGITS = 64  # characters of a number in a text file, with what separates it from the next
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)

Values = np.ndarray | DataError  # of an input, as the data source stores them; or why there are none
Example = tuple[dict[str, str], Values]  # the input's name under its kind (file or values)


def predict(
    path: Path, files: Sequence[str], values: Sequence[str], which: str, events: Events
) -> Iterator[dict[str, Any]]:
    """A document for each input: its file or values, class, probability, and the probability of every class.

    ``files``: pictures, or folders with pictures anywhere below; where the network takes no pictures, text files with
    the numbers of an input in each line. ``values``: an input's numbers. What cannot be read has an ``error`` instead.
    One batch is held at a time.
    """
    trained = open_trained(path, which, events)
    for names, found in _answered(trained, _examples(trained, files, values), events):
        if isinstance(found, DataError):
            yield {**names, "error": str(found)}
            continue
        top = int(found.argmax())
        named = {name: float(value) for name, value in zip(trained.saved.classes, found, strict=True)}
        yield {**names, "class": trained.saved.classes[top], "probability": float(found[top]), "probabilities": named}


def takes_pictures(shape: Sequence[int]) -> bool:
    """Whether inputs of the stored ``shape`` can come from image files."""
    return len(shape) == 3 and shape[2] in (1, 3)


def _answered(trained: Trained, examples: Iterator[Example], events: Events) -> Iterator[Example]:
    """The same with probabilities (C,) in the place of values."""
    config, shape = trained.loaded.config, trained.saved.image_shape
    run, loss = jax.jit(make_forward(config, trained.model)), config.train.loss
    weights, constants = jax.device_put((trained.eval_weights, trained.constants))
    size = max(1, min(BATCH, BATCH_BYTES // (4 * math.prod(shape))))
    done, most = 0, 0
    while batch := list(islice(examples, size)):
        found = [values for _, values in batch if not isinstance(values, DataError)]
        most = max(most, len(found))  # shorter batches are filled up: one program for all
        rows: Iterator[np.ndarray] = iter(())
        if found:
            images = apply_pixels(config.data.preprocess, np.stack(found + found[:1] * (most - len(found))))
            probabilities = np.asarray(loss.probabilities(run(weights, constants, images)))
            if not np.isfinite(probabilities).all():
                place = Place(str(trained.folder))
                raise CheckpointError.of("gives probabilities that are not finite", place=place)
            rows = iter(probabilities)
        for names, values in batch:
            yield names, values if isinstance(values, DataError) else next(rows)
        done += len(batch)
        events.loading("predicting", done, max(done, 1))


def _examples(trained: Trained, files: Sequence[str], values: Sequence[str]) -> Iterator[Example]:
    """Every input, read when it is its turn."""
    shape = trained.saved.image_shape
    for file in files:
        if ADDRESS.match(file):
            yield {"file": file}, DataError.of("is an address: only files are read", "Download it first.", Place(file))
        elif not takes_pictures(shape):
            yield from _lines(Path(file), shape)
        elif not os.path.isdir(file):
            yield {"file": file}, _picture(Path(file), shape)
        else:
            yield from _pictures(file, shape)
    for text in values:
        yield {"values": text}, _numbers(text, shape, Place(text[:40]))


def _picture(path: Path, shape: Sequence[int]) -> Values:
    try:
        return decode(path, shape[2], (shape[0], shape[1]))
    except DataError as error:
        return error


def _pictures(folder: str, shape: Sequence[int]) -> Iterator[Example]:
    """All JPEG and PNG files below a folder, by name. Hidden ones do not count."""
    unread: list[OSError] = []
    count = 0
    for home, folders, names in os.walk(folder, onerror=unread.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                count += 1
                path = Path(home, name)
                yield {"file": str(path)}, _picture(path, shape)
    for error in unread:
        yield {"file": error.filename}, data_error(Path(error.filename), f"cannot be read: {reason(error)}")
    if not count and not unread:
        yield {"file": folder}, data_error(Path(folder), "holds no JPEG or PNG files")


def _lines(path: Path, shape: Sequence[int]) -> Iterator[Example]:
    """An input from each line of a text file that is not blank."""
    limit = DIGITS * (math.prod(shape) + 1)
    try:
        with open_data_file(path) as stream:
            number = 0
            while line := stream.readline(limit):
                number += 1
                text, place = line.decode("utf-8", "replace").strip(), Place(str(path), number)
                if len(line) == limit:
                    raise DataError.of("is too long for a line of numbers", _expected(shape), place)
                if text:
                    yield {"file": str(place)}, _numbers(text, shape, place)
    except DataError as error:
        yield {"file": str(path)}, error


def _numbers(text: str, shape: Sequence[int], place: Place) -> Values:
    """Numbers between commas or blanks as an input (float32)."""
    parts = [part for part in re.split(r"[,;\s]+", text) if part]
    if len(parts) != math.prod(shape):
        return DataError.of(f"got {len(parts)} numbers", _expected(shape), place)
    for part in parts:
        try:
            good = abs(float(part)) <= LARGEST
        except ValueError:
            good = False
        if not good:
            return DataError.of(f"'{part[:20]}' is not a finite 32-bit number", place=place)
    return np.array([float(part) for part in parts], np.float32).reshape(shape)


def _expected(shape: Sequence[int]) -> str:
    axes = f" ({' x '.join(map(str, shape))})" if len(shape) > 1 else ""
    return f"This network takes {math.prod(shape)} numbers{axes}."
