"""SGD, and every optimizer of Optax by its own name with its own arguments."""

import ast
import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Discriminator, Field, NonNegativeFloat, PositiveFloat, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from cnncli.spec import FIELD_WORDS, Spec, check, describe, did_you_mean

if TYPE_CHECKING:
    import optax

    from cnncli.schedules import Rate

Scalar = bool | int | float | str | None


class Optimizer(Spec):
    """Base: how gradients become updates."""

    family: ClassVar[str] = "optimizer"

    lr: PositiveFloat = Field(description="learning rate; the schedule changes it over time")

    def build(self, rate: "Rate", decays: Callable[[Any], Any]) -> "optax.GradientTransformation":
        """The transformation. ``decays``: parameters -> which of them weight decay may touch."""
        raise TypeError(f"{self.kind} updates nothing")


class Sgd(Optimizer):
    """Stochastic gradient descent: v = momentum * v + g + weight_decay * w; w = w - lr * v (PyTorch's convention).

    Weight decay leaves biases and norm parameters alone. Source: Robbins and Monro 1951; Polyak 1964; Nesterov 1983.

    Example: `sgd: {lr: 0.05, momentum: 0.9}`
    """

    main: ClassVar[str | None] = "lr"
    words: ClassVar[tuple[str, ...]] = ("momentum", "nesterov", "gradient_descent")

    momentum: float = Field(0.0, ge=0, lt=1, description="share of the last update kept")
    nesterov: bool = Field(False, description="look ahead along the momentum")
    weight_decay: NonNegativeFloat = Field(0.0, description="added to the gradient, times the weight")

    def build(self, rate: "Rate", decays: Callable[[Any], Any]) -> "optax.GradientTransformation":
        """Decay, momentum, scale."""
        import optax

        decay = optax.add_decayed_weights(self.weight_decay, decays) if self.weight_decay else optax.identity()
        return optax.chain(decay, optax.sgd(rate, self.momentum or None, self.nesterov))


class Named(Optimizer):
    """An optimizer of Optax by its name, with the arguments of the installed Optax's own function.

    Example: `adamw: {lr: 0.001, weight_decay: 0.01}`
    """

    name: str
    arguments: dict[str, Scalar] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if not isinstance(value, tuple):
            return value
        name, fields = value
        lr = {"lr": fields["lr"]} if "lr" in fields else {}
        arguments = {key: item for key, item in fields.items() if key != "lr"}
        problems = list(_wrong_arguments(name, arguments))
        if problems:
            raise PydanticCustomError("arguments", "wrong arguments", {"problems": problems})
        return {"name": name, "arguments": arguments, **lr}

    def to_yaml(self) -> Any:
        """By its own name."""
        return {self.name: {"lr": self.lr, **self.arguments}}

    def build(self, rate: "Rate", decays: Callable[[Any], Any]) -> "optax.GradientTransformation":
        """The Optax function called."""
        import optax

        mask = {key: decays for key in ("mask", "weight_decay_mask") if key in signatures()[self.name].hidden}
        return getattr(optax, self.name)(learning_rate=rate, **mask, **self.arguments)


@dataclass(frozen=True)
class Signature:
    """Arguments a config can set, with their defaults; ``required``: without one; ``hidden``: functions and masks."""

    defaults: dict[str, Scalar]
    required: tuple[str, ...]
    hidden: tuple[str, ...]


@functools.cache
def signatures() -> dict[str, Signature]:
    """Every optimizer of the installed Optax that takes a learning rate, read from its source without importing JAX."""
    spec = importlib.util.find_spec("optax")
    assert spec
    assert spec.origin
    tree = ast.parse((Path(spec.origin).parent / "_src" / "alias.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    found = {node.name: _signature(node) for node in functions if node.name not in ("sgd", "lbfgs", "polyak_sgd")}
    return {name: signature for name, signature in found.items() if "learning_rate" in signature.hidden}


def _signature(function: ast.FunctionDef) -> Signature:
    arguments = [*function.args.args, *function.args.kwonlyargs]
    values = [None] * (len(function.args.args) - len(function.args.defaults)) + function.args.defaults
    values += function.args.kw_defaults
    defaults: dict[str, Scalar] = {}
    required, hidden = [], []
    for argument, value in zip(arguments, values, strict=True):
        words = ast.unparse(argument.annotation) if argument.annotation else ""
        if argument.arg == "learning_rate" or "Callable" in words or "mask" in argument.arg or "dtype" in words.lower():
            hidden.append(argument.arg)
        elif value is None:
            required.append(argument.arg)
        else:
            defaults[argument.arg] = _literal(value)
    return Signature(defaults, tuple(required), tuple(hidden))


def _literal(value: ast.expr) -> Scalar:
    try:
        found = ast.literal_eval(value)
    except ValueError:
        return None
    return found if isinstance(found, (bool, int, float, str)) else None


def _wrong_arguments(name: str, arguments: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(argument, what is wrong, hint) for each."""
    signature = signatures()[name]
    known = [*signature.defaults, *signature.required]
    wrong = []
    for key, value in arguments.items():
        if key not in known:
            wrong.append((key, f"{name} has no argument '{key}'", did_you_mean(key, [*known, "lr"], FIELD_WORDS)))
        elif not _fits(value, signature.defaults.get(key)):
            kind = "true or false" if isinstance(signature.defaults.get(key), bool) else "a number"
            wrong.append((key, f"expected {kind}, got {describe(value)}", ""))
    wrong += [("", f"{name} needs {key}", "") for key in signature.required if key not in arguments]
    return wrong


def _fits(value: Any, default: Scalar) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, str):
        return isinstance(value, str)
    return value is None if not isinstance(value, (bool, int, float)) else not isinstance(value, bool) or default is None


def _choose(value: Any) -> Any:
    """``{adamw: {...}}`` to the spec it names."""
    if isinstance(value, Optimizer):
        return value
    kind = value if isinstance(value, str) else next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
    if kind is None:
        raise PydanticCustomError("not_a_spec", "expected one optimizer, as in `sgd: {{lr: 0.1}}`, got {got}",
                                  {"got": describe(value)})  # fmt: skip
    if kind != "sgd" and kind not in signatures():
        hint = did_you_mean(str(kind), ["sgd", *signatures()], dict.fromkeys(Sgd.words, "sgd"))
        raise PydanticCustomError("unknown_kind", "unknown optimizer '{kind}'", {"kind": str(kind), "hint": hint})
    fields = {} if isinstance(value, str) or value[kind] is None else value[kind]
    fields = fields if isinstance(fields, dict) else {"lr": fields}
    return fields if kind == "sgd" else (kind, fields)


_KINDS = {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": {"sgd": {"type": ["object", "number"]}}}
AnyOptimizer = Annotated[
    Annotated[Sgd, Tag("sgd")] | Annotated[Named, Tag("named")],
    Discriminator(lambda value: "named" if isinstance(value, (tuple, Named)) else "sgd"),
    check(_choose),
    WithJsonSchema(_KINDS),
]
