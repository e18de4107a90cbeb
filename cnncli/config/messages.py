"""The message and the hint of each kind of validation error."""

from __future__ import annotations

import math
import re
from typing import Any, get_args

from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from cnncli.config.reader import scalar
from cnncli.config.suggest import number_list
from cnncli.spec import describe, nearest

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
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "text_pattern": "{expected}",
}
WRONG_TYPE = {"int_from_float", "literal_error", *(kind for kind in _EXPECTED if kind.endswith("_type"))}
LENGTHS = {"too_short", "too_long"}
_BUILT_IN = set(get_args(ErrorType))
_TRUTH = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def expected(error: ErrorDetails) -> str:
    """What was expected: ``a whole number``, ``more than 0``."""
    context = {key: _number(value) for key, value in error.get("ctx", {}).items()}
    return _EXPECTED[error["type"]].format(**context)


def message(error: ErrorDetails) -> str:
    """``expected a whole number, got 2.5``. Errors raised by this project bring their own message."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _EXPECTED:
        got = context["actual_length"] if kind in LENGTHS else describe(error["input"])
        return f"expected {expected(error)}, got {got}"
    if kind == "value_error":
        return str(context["error"])
    return error["msg"] if kind not in _BUILT_IN else f"does not fit here: {describe(error['input'])}"


def hint(error: ErrorDetails) -> str:
    """What to write instead, where that can be guessed."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if "hint" in context:
        return str(context["hint"])
    if kind == "unknown_kind":
        return str(context["choice"].hint(context["kind"]))
    if listed := number_list(value):
        return f"Write {listed}."
    if isinstance(value, str) and value.startswith("$"):
        return "A $parameter stands only inside a block."
    if kind in ("int_type", "int_from_float", "float_type"):
        return _as_number(value, whole=kind != "float_type")
    if kind == "bool_type":
        return f"Write {_TRUTH[str(value).lower()]}." if str(value).lower() in _TRUTH else ""
    if kind == "string_type" and isinstance(value, (int, float)):
        return f"In quotes it is text: '{describe(value)}'."
    if kind == "tuple_type" and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return f"Write [{value}]."
    if kind == "literal_error" and isinstance(value, str):
        near = nearest(value, re.findall("'([^']*)'", context["expected"]), {"bf16": "bfloat16", "fp32": "float32"})
        return f"Did you mean {near}?" if near else ""
    return ""


def _as_number(value: Any, whole: bool) -> str:
    """The number that was meant, as it must be written."""
    text = value.replace("_", "").strip() if isinstance(value, str) else value
    number = scalar(text) if isinstance(text, str) else text
    if isinstance(number, str) and re.fullmatch("0[xX][0-9a-fA-F]{1,12}", number):
        number = int(number, 16)
    if isinstance(number, (bool, str, list, tuple, dict)) or number is None or not math.isfinite(number):
        return ""
    if whole and number != int(number):
        return ""
    quoted = isinstance(value, str) and not isinstance(scalar(value), str)
    return f"Write {int(number) if whole else number}{', without quotes' * quoted}."


def _number(value: Any) -> Any:
    """1.0 as people write it: 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
