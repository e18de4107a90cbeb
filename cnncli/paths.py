"""Files and folders as a config names them: relative to the config's folder, `~` is the home directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from cnncli.errors import Location
from cnncli.spec import Settings, Spec

S = TypeVar("S", bound=Settings)


def _path_text(value: object) -> object:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise PydanticCustomError("path", "expected a path, got an empty text" if value.isspace() or not value else
                                  "a path holds no NUL character")  # fmt: skip
    return value


_IS_PATH = BeforeValidator(_path_text)
PathText = Annotated[str, _IS_PATH, Field(min_length=1)]


def is_path(field: FieldInfo) -> bool:
    """Whether a field is a ``PathText`` or an optional one."""
    written = [field.metadata, *(getattr(each, "__metadata__", ()) for each in get_args(field.annotation))]
    return any(_IS_PATH in metadata for metadata in written)


def located(settings: S, folder: Callable[[Location], Path], location: Location = ()) -> S:
    """A copy of ``settings`` in which each relative path is below the ``folder`` of its location."""
    changed: dict[str, Any] = {}
    for name, info in type(settings).model_fields.items():
        value, at = getattr(settings, name), (*location, name)
        if isinstance(value, Settings):
            changed[name] = located(value, folder, (*at, value.kind) if isinstance(value, Spec) else at)
        elif value is not None and is_path(info):
            changed[name] = str(folder(at) / user_path(value))
    return settings.model_copy(update=changed)


def user_path(text: str) -> Path:
    """The path that a config names. Only a leading ``~`` is expanded, no variables are."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user
        return Path(text)
