"""Modules that are loaded when they are first used, so that `cnn --help` and static commands start quickly.

    with lazy_imports():
        from cnncli.train import trainer

    trainer.train(...)  # loads the module

Only whole modules can wait: ``from module import name`` inside the block loads ``module`` at once. Type checkers see
ordinary imports.
"""

from __future__ import annotations

import sys
import threading  # noqa: F401 (LazyLoader imports it while it loads: it must be there before)
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader

LAZY = ("cnncli", "numpy")  # top-level packages whose modules wait


class _LazyFinder:
    """Finds modules as usual and gives them a loader that waits."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in LAZY:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def lazy_imports() -> Iterator[None]:
    """Imports of modules inside this block wait until an attribute of the module is used."""
    finder = _LazyFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
