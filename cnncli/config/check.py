"""Validation errors to problems at their place in the file, in words."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails, ErrorType

from cnncli.config.classes import Location, choices, class_at, fields
from cnncli.config.reader import Node, scalar
from cnncli.errors import Problem
from cnncli.spec import FIELD_WORDS, NO_FIELD, OTHERWISE, Choice, Spec, describe, did_you_mean, nearest

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} in the list",
    "too_long": "at most {max_length} in the list",
    "literal_error": "{expected}",
}
_BUILT_IN = set(get_args(ErrorType))
_WRONG_TYPE = {key for key in _EXPECTED if key.endswith("_type")} | {"int_from_float", "literal_error"}
_UNION = re.compile(r"int|float|str|bool|.*[\[(-].*")  # how pydantic calls a member of a union of plain types
_TRUTH = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def problems_of(errors: list[ErrorDetails], root: Node, model: type[BaseModel]) -> list[Problem]:
    """Each error once, in the order of the file."""
    told = _Told(root, model)
    found = [problem for error in _one_per_union(errors) for problem in told.problems(error)]
    return in_order([problem for problem in found if problem not in told.explained])


def in_order(problems: list[Problem]) -> list[Problem]:
    """As in the file, those of the command line first."""
    return sorted(dict.fromkeys(problems), key=lambda p: (p.place.line or 0, p.place.column or 0) if p.place else (0, 0))
