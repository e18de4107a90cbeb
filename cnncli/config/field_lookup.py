"""Finds the class whose fields stand at a location of the config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cnncli.errors import Location
from cnncli.spec import Choice

Holder = type[BaseModel] | Choice


def class_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    """The class at ``location`` below ``model``, given as pydantic names it or as the file is written."""
    here: list[Holder] = [model]
    for step in location:
        if isinstance(step, str):
            here = [found for each in here for found in _below(each, step)]
    classes = dict.fromkeys(each for each in here if isinstance(each, type))
    return next(iter(classes)) if len(classes) == 1 else None


def fields_at(model: type[BaseModel], location: Location) -> dict[str, FieldInfo]:
    """The fields of the class at ``location``; none where it is not one class."""
    owner = class_at(model, location)
    return fields(owner) if owner else {}


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A class's fields as the YAML calls them."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def choices(info: FieldInfo) -> list[Choice]:
    """The families a field takes its specs from."""
    return [each for each in holders(info) if isinstance(each, Choice)]


def holders(info: FieldInfo) -> list[Holder]:
    """The classes and families a field's value is made of."""
    return list(_holders(info.annotation, *info.metadata))


def _below(holder: Holder, step: str) -> list[Holder]:
    if isinstance(holder, Choice):
        return [holder.members[step]] if step in holder.members else []
    known = fields(holder)
    if step in known:
        return holders(known[step])
    inner = [each for info in known.values() for each in holders(info)]
    return [found for each in inner for found in _below(each, step)]  # what a short form leaves out


def _holders(*annotations: Any) -> Iterator[Holder]:
    for each in annotations:
        if isinstance(each, Choice) or (isinstance(each, type) and issubclass(each, BaseModel)):
            yield each
        else:
            yield from _holders(*get_args(each))
