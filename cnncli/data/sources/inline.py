"""Data written into the config itself: for small examples, such as logic gates."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import override

from cnncli.data.labels import class_name_problem
from cnncli.data.sources.source import Progress, Source
from cnncli.data.splits import SPLITS, ArraySplit, Dataset, SplitName
from cnncli.lazy import lazy_imports
from cnncli.sliding import Shape
from cnncli.spec import describe, did_you_mean, sequence
from cnncli.text import times

with lazy_imports():
    import numpy as np

LARGEST = 3.4e38  # float32
MAX_LABEL = 9_999
MAX_DEPTH = 4  # count, height, width, channels


def _fail(message: str, hint: str = "", **values: Any) -> PydanticCustomError:
    return PydanticCustomError("inline", message, {**values, "hint": hint})


def nested_shape(value: Any, where: str, depth: int = 0) -> Shape:
    """Shape of nested lists of numbers, () for one number. Every list at one depth must be equally long."""
    if not isinstance(value, (list, tuple)):
        return _number(value, where)
    if depth == MAX_DEPTH:
        raise _fail("lists are nested more than {deep} deep", "An input has at most height x width x channels.",
                    deep=MAX_DEPTH)  # fmt: skip
    shapes = [nested_shape(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if not shapes:
        raise _fail("{where} is an empty list", where=where)
    odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        got, first = (times(shape) or "one number" for shape in (shapes[odd], shapes[0]))
        raise _fail("{where}[{odd}] has shape {got}, {where}[0] has {first}", "Every input needs the same shape.",
                    where=where, odd=odd, got=got, first=first)  # fmt: skip
    return (len(value), *shapes[0])


def _number(value: Any, where: str) -> Shape:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _fail("{where} is {got}, not a number", where=where, got=describe(value))
    if not abs(value) <= LARGEST:
        raise _fail("{where} is not a finite 32-bit number", where=where)
    return ()


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


def _inputs(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _fail("expected a list of inputs, got {got}", got=describe(value))
    shape = nested_shape(value, "inputs")
    if len(shape) < 2:
        raise _fail("each input is a list of numbers, got {got}", "Write [[0], [1]] for inputs of one number each.",
                    got=describe(value[0]))  # fmt: skip
    return _tuples(value)


def _labels(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not value:
        raise _fail("expected a list of labels, got {got}", got=describe(value))
    kinds = {type(item) for item in value}
    if kinds not in ({int}, {str}):
        odd = next(item for item in value if type(item) not in (int, str)) if kinds - {int, str} else None
        got = describe(odd) if odd is not None else "numbers and texts"
        raise _fail("labels are whole numbers from 0 or class names, got {got}", "Quote a name: 'true'.", got=got)
    if kinds == {int} and not 0 <= min(value) <= max(value) <= MAX_LABEL:
        raise _fail("a label is {got}", f"Labels count from 0 to at most {MAX_LABEL:,}.",
                    got="negative" if min(value) < 0 else "too large")  # fmt: skip
    return tuple(value)


_list = {"type": "array", "minItems": 1, "items": {"type": ["number", "array"]}}
Inputs = Annotated[
    tuple[Any, ...], BeforeValidator(_inputs), WithJsonSchema({"type": "array", "minItems": 1, "items": _list})
]  # fmt: skip
Labels = Annotated[
    tuple[int, ...] | tuple[str, ...],
    BeforeValidator(_labels),
    WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": ["integer", "string"]}}),
]


class Inline(Source):
    """Data written into the config: inputs as nested lists of numbers, one label for each. No test split.

    Input shapes (units,), (length, channels) or (height, width, channels), float32. Labels: whole numbers from 0, or
    class names; the classes are then the names in alphabetical order, unless `classes` gives them.

    Example: `inline: {inputs: [[0, 0], [0, 1], [1, 0], [1, 1]], labels: [0, 0, 0, 1]}`
    """

    aliases: ClassVar[tuple[str, ...]] = ("rows", "literal", "values")

    inputs: Inputs = Field(description="one nested list of numbers for each example, all of one shape")
    labels: Labels = Field(description="one whole number or class name for each example")
    classes: sequence(str) | None = Field(None, description="names of the classes, in label order")  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _agree(self) -> Inline:
        if len(self.labels) != len(self.inputs):
            raise _fail("{labels} labels for {inputs} inputs", labels=len(self.labels), inputs=len(self.inputs))
        names = self.class_names()
        bad = next(((name, problem) for name in names if (problem := class_name_problem(name))), None)
        if bad:
            raise _fail("class name {name} {problem}", name=repr(bad[0]), problem=bad[1])
        if len(set(names)) < len(names):
            raise _fail("a class is named twice")
        if len(names) < 2:
            raise _fail("there is only one class", "A classifier needs two or more.")
        for label in self.labels:
            if isinstance(label, int) and label >= len(names):
                raise _fail("label {label} is out of range", f"There are {len(names)} classes: 0 to {len(names) - 1}.",
                            label=label)  # fmt: skip
            if isinstance(label, str) and label not in names:
                raise _fail("label {label} is not one of the classes", did_you_mean(label, names), label=repr(label))
        return self

    def class_names(self) -> tuple[str, ...]:
        """As given; else the texts in alphabetical order, or the numbers up to the largest."""
        if self.classes:
            return tuple(self.classes)
        texts = {label for label in self.labels if isinstance(label, str)}
        numbers = [label for label in self.labels if isinstance(label, int)]
        return tuple(sorted(texts)) or tuple(str(label) for label in range(max(numbers) + 1))

    @override
    def image_shape(self) -> Shape:
        return nested_shape(self.inputs[0], "inputs[0]")

    @override
    def class_count(self) -> int:
        return len(self.class_names())

    @override
    def load(self, folder: Path | None, progress: Progress, wanted: Collection[SplitName] = SPLITS) -> Dataset:
        names = self.class_names()
        labels = [label if isinstance(label, int) else names.index(label) for label in self.labels]
        return Dataset(names, ArraySplit(np.array(self.inputs, np.float32), np.array(labels, np.int32)))
