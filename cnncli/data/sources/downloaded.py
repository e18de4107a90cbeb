"""Data sets that are looked for in the user's folders, and downloaded where they are not found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import platformdirs
from pydantic import Field

from cnncli.data.sources.source import Progress, Source
from cnncli.lazy import lazy_imports
from cnncli.paths import user_path
from cnncli.safe_files import data_error, is_file, is_folder
from cnncli.spec import Pattern, sequence

with lazy_imports():
    from cnncli.data import fetch

Url = Annotated[
    str, Pattern(r"^https?://[^\s/]+", "an address that begins with http:// or https://"),
    Field(description="base URL, the file's name is appended"),
]  # fmt: skip


@dataclass(frozen=True)
class Remote:
    """A file that mirrors hold, its size in bytes and its SHA-256.

    ``content``: the SHA-256 of what it holds unpacked, where known: a copy that was gzipped again is as good.
    """

    name: str
    size: int
    sha256: str
    content: str = ""


class Downloaded(Source):
    """Base class of the sources whose files can be downloaded."""

    usual_mirrors: ClassVar[tuple[str, ...]] = ()

    mirrors: sequence(Url) | None = Field(  # type: ignore[valid-type]
        None, description="base URLs to fetch from, tried in order, instead of the usual ones; [] never fetches"
    )

    def fetch(self, remote: Remote, advice: str, progress: Progress) -> Path:
        """Download one file to the cache. ``advice``: how to provide it by hand."""
        mirrors = self.usual_mirrors if self.mirrors is None else self.mirrors
        return fetch.fetch(cache_dir(self.kind) / remote.name, self.kind, remote, mirrors, advice, progress)


def cache_dir(kind: str) -> Path:
    """Where downloads of a data set are kept: the user's cache folder."""
    return Path(platformdirs.user_cache_dir("cnncli", appauthor=False)) / kind


def search_dirs(kind: str, folder: Path | None) -> list[Path]:
    """Folders in which a data set may lie, in order: the user's, ``$CNN_DATA_DIR``, the cache."""
    if folder is not None and not is_folder(folder):
        raise data_error(folder, "is not a folder, and data.dir names it")
    variable = os.environ.get("CNN_DATA_DIR", "")
    roots = [root for root in (folder, user_path(variable) if variable else None) if root]
    return [*(place for root in roots for place in (root / kind, root)), cache_dir(kind)]


def find_together(kind: str, dirs: list[Path], files: Sequence[Sequence[str]]) -> list[Path] | None:
    """The files, each in one of its spellings, in the first folder that has them. Only the cache may lack some."""
    for place in dirs:
        paths = [next((place / name for name in names if is_file(place / name)), None) for names in files]
        present = [path for path in paths if path]
        if len(present) == len(files):
            return present
        if present and place != cache_dir(kind):
            missing = [names[0] for names, path in zip(files, paths, strict=True) if path is None]
            raise data_error(place, f"has {present[0].name}, but not {', '.join(missing)}",
                             f"All {len(files)} files of {kind} belong into one folder.")  # fmt: skip
    return None


def advise(names: Sequence[str], dirs: Sequence[Path]) -> str:
    """Which files to put where."""
    places = ", ".join(str(place) for place in dirs)
    return f"Put {', '.join(names)} into one folder: {places}, or any other that data.dir names."
