"""Writes cnncli/optimizers.json from the source of the installed Optax: python -m tests.helpers.optax_table.

The table lists every optimizer that a config can hold, with its arguments. A test holds it against the installed Optax.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[2] / "cnncli" / "optimizers.json"

# `sgd` is ours; lbfgs needs the loss itself; noisy_sgd draws from a key that no checkpoint holds.
LEFT_OUT = ("sgd", "lbfgs", "noisy_sgd")


def optax_table() -> dict[str, Any]:
    """Optax's version, and by name each optimizer's summary, arguments and masks of weight decay."""
    spec = importlib.util.find_spec("optax")
    assert spec
    assert spec.origin
    tree = ast.parse((Path(spec.origin).parent / "_src" / "alias.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    read = {node.name: _optimizer(node) for node in functions if node.name not in LEFT_OUT}
    optimizers = {name: optimizer for name, optimizer in read.items() if optimizer}
    for node in tree.body:  # nadam = functools.partial(adam, nesterov=True), and its docstring
        match node:
            case ast.Assign([ast.Name(name)], ast.Call(ast.Attribute(attr="partial"), [ast.Name(base)], fixed)) if (
                base in optimizers
            ):
                fixed_names = {keyword.arg for keyword in fixed}
                arguments = optimizers[base]["arguments"].items()
                free = {key: argument for key, argument in arguments if key not in fixed_names}
                optimizers[name] = {**optimizers[base], "arguments": free}
            case ast.Assign([ast.Attribute(ast.Name(name), "__doc__")], ast.Constant(str(text))) if name in optimizers:
                optimizers[name] = {**optimizers[name], "summary": _summary(text)}
    return {"optax": version("optax"), "optimizers": optimizers}


def _optimizer(function: ast.FunctionDef) -> dict[str, Any] | None:
    """None where the learning rate cannot follow a schedule, or a config cannot hold an argument without default."""
    listed, text = function.args, ast.get_docstring(function) or ""
    defaults: list[ast.expr | None] = [None] * (len(listed.args) - len(listed.defaults))
    defaults += [*listed.defaults, *listed.kw_defaults]
    arguments, masks, scheduled = {}, [], False
    for argument, default in zip([*listed.args, *listed.kwonlyargs], defaults, strict=True):
        name, annotation = argument.arg, ast.unparse(argument.annotation) if argument.annotation else ""
        scheduled = scheduled or (name == "learning_rate" and "Schedule" in annotation)
        kind = _type(name, annotation)
        if kind and (default is None or isinstance(default, (ast.Constant, ast.UnaryOp))):
            value = {} if default is None else {"default": ast.literal_eval(default)}
            arguments[name] = {"type": kind, **value, "description": _description(name, text)}
        elif default is None and name != "learning_rate":
            return None
        elif name in ("mask", "weight_decay_mask"):
            masks.append(name)
    return {"summary": _summary(text), "arguments": arguments, "masks": masks} if scheduled else None


def _type(name: str, annotation: str) -> str:
    """``float`` or ``float | None``; empty for what a config cannot hold: functions, masks, dtypes."""
    if name == "learning_rate" or "mask" in name or "dtype" in name:
        return ""
    known = {"bool": "bool", "int": "int", "str": "str", "float": "float", "ArrayLike": "float",
             "ScalarOrSchedule": "float"}  # fmt: skip
    kind = next((kind for word, kind in known.items() if re.search(rf"\b{word}\b", annotation)), "")
    return f"{kind} | None" if kind and re.search(r"\b(Optional|None)\b", annotation) else kind


def _description(name: str, docstring: str) -> str:
    """The first sentence on an argument under ``Args:``."""
    found = re.search(rf"^  {name}: (.*(?:\n    .*)*)", docstring, re.MULTILINE)
    return _plain_text(found[1]).split(". ")[0].rstrip(".") if found else ""


def _summary(docstring: str) -> str:
    return _plain_text(docstring.split("\n\n")[0])


def _plain_text(text: str) -> str:
    return re.sub(r":\w+:|`", "", " ".join(text.split()))


def written_table() -> str:
    """The text of the table."""
    return json.dumps(optax_table(), indent=1) + "\n"


if __name__ == "__main__":
    TABLE.write_text(written_table(), encoding="utf-8")
