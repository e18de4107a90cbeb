"""Modules that are loaded when they are first used, so that `cnn --help` and static commands start quickly.

    with lazy_imports():
        import jax.numpy as jnp
        from cnncli.train import trainer

    trainer.train(...)  # loads the module

Only whole modules can wait: in ``from package import module`` the name must be a module. Until its first use a module
is not in ``sys.modules``. Type checkers see ordinary imports.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

LAZY = ("cnncli", "numpy", "jax")  # top-level packages whose modules wait


class _LazyModule(ModuleType):
    """Stands for a module among the ``users`` (global names of the importing module) until it is first used."""

    def __init__(self, name: str, users: dict[str, Any]) -> None:
        super().__init__(name)
        self.__dict__["_users"] = users

    def _load(self) -> ModuleType:
        module, users = import_module(self.__name__), self.__dict__["_users"]
        for name in [name for name, value in users.items() if value is self]:
            users[name] = module
        return module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._load(), name, value)


@contextmanager
def lazy_imports() -> Iterator[None]:
    """Imports inside this block wait until an attribute of the imported module is used."""
    import_now = builtins.__import__

    def import_late(
        name: str,
        globals: dict[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top, *parts = name.split(".")
        if top not in LAZY or globals is None:
            return import_now(name, globals, locals, fromlist or (), level)
        if fromlist:
            return SimpleNamespace(**{module: _LazyModule(f"{name}.{module}", globals) for module in fromlist})
        module: Any = _LazyModule(name, globals)
        for part in reversed(parts):  # `import jax.numpy as jnp` takes attribute numpy of what is returned
            module = SimpleNamespace(**{part: module})
        return module

    builtins.__import__ = import_late  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.__import__ = import_now
