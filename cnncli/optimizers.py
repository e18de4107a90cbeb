"""SGD, and every optimizer of Optax by its own name with its own arguments."""

import ast
import functools
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, create_model

from cnncli.spec import Choice, Spec

if TYPE_CHECKING:
    import optax

    from cnncli.schedules import Rate


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

    shorthand: ClassVar[str | None] = "lr"
    aliases: ClassVar[tuple[str, ...]] = ("momentum", "nesterov", "gradient_descent")

    momentum: float = Field(0.0, ge=0, lt=1, description="share of the last update kept")
    nesterov: bool = Field(False, description="look ahead along the momentum")
    weight_decay: NonNegativeFloat = Field(0.0, description="added to the gradient, times the weight")

    def build(self, rate: "Rate", decays: Callable[[Any], Any]) -> "optax.GradientTransformation":
        """Decay, momentum, scale."""
        import optax

        decay = optax.add_decayed_weights(self.weight_decay, decays) if self.weight_decay else optax.identity()
        return optax.chain(decay, optax.sgd(rate, self.momentum or None, self.nesterov))


# `sgd` is ours; lbfgs needs the loss itself; the noise comes from a key that no checkpoint holds.
LEFT_OUT = ("sgd", "lbfgs", "noisy_sgd")

# Where the same name and numbers mean something else in PyTorch.
DIFFERENCES = {
    "adagrad": "PyTorch's initial_accumulator_value is 0 and its eps 1e-10.",
    "adamw": "PyTorch's weight_decay is 0.01.",
    "nadam": "PyTorch's also lets b1 grow over the steps (momentum_decay).",
    "nadamw": "PyTorch's NAdam also lets b1 grow over the steps (momentum_decay).",
    "radam": "Optax computes the rectification in float32, where it cancels: in the first steps that are rectified "
    "(from the sixth on) it is off by about 1 %, which PyTorch, in float64, is not.",
    "rmsprop": "PyTorch's decay is 0.99 (alpha), and its eps stands outside the root (eps_in_sqrt: false).",
}


@dataclass(frozen=True)
class Argument:
    """One argument of an Optax function that a config can set. ``default``: None also where it has none."""

    type: Any
    default: Any
    required: bool
    meaning: str


@dataclass(frozen=True)
class Signature:
    """What a config sees of an Optax function; ``hidden``: its other arguments, functions and masks among them."""

    summary: str
    arguments: dict[str, Argument]
    hidden: tuple[str, ...]


@functools.cache
def signatures() -> dict[str, Signature]:
    """Every optimizer of the installed Optax that a config can hold, read from its source without importing JAX."""
    spec = importlib.util.find_spec("optax")
    assert spec
    assert spec.origin
    tree = ast.parse((Path(spec.origin).parent / "_src" / "alias.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    read = {node.name: _signature(node) for node in functions if node.name not in LEFT_OUT}
    found = {name: signature for name, signature in read.items() if signature}
    for node in tree.body:  # nadam = functools.partial(adam, nesterov=True), and its docstring
        match node:
            case ast.Assign([ast.Name(name)], ast.Call(ast.Attribute(attr="partial"), [ast.Name(base)], fixed)) if (
                base in found
            ):
                fixed_names = {word.arg for word in fixed}
                free = {key: each for key, each in found[base].arguments.items() if key not in fixed_names}
                found[name] = replace(found[base], arguments=free)
            case ast.Assign([ast.Attribute(ast.Name(name), "__doc__")], ast.Constant(str(text))) if name in found:
                found[name] = replace(found[name], summary=_summary(text))
    differing = {name: f"{found[name].summary} {DIFFERENCES[name]}" for name in DIFFERENCES if name in found}
    return found | {name: replace(found[name], summary=summary) for name, summary in differing.items()}


def _signature(function: ast.FunctionDef) -> Signature | None:
    """None where the learning rate cannot follow a schedule, or an argument must be given that a config cannot hold."""
    listed, text = function.args, ast.get_docstring(function) or ""
    defaults: list[ast.expr | None] = [None] * (len(listed.args) - len(listed.defaults))
    defaults += [*listed.defaults, *listed.kw_defaults]
    arguments, hidden, scheduled = {}, [], False
    for argument, default in zip([*listed.args, *listed.kwonlyargs], defaults, strict=True):
        name, annotation = argument.arg, ast.unparse(argument.annotation) if argument.annotation else ""
        scheduled = scheduled or (name == "learning_rate" and "Schedule" in annotation)
        kind = _type(name, annotation)
        if kind is not None and (default is None or isinstance(default, (ast.Constant, ast.UnaryOp))):
            value = None if default is None else ast.literal_eval(default)
            arguments[name] = Argument(kind, value, default is None, _meaning(name, text))
        elif default is None and name != "learning_rate":
            return None
        else:
            hidden.append(name)
    if not scheduled:
        return None
    return Signature(_summary(text), arguments, tuple(hidden))


def _type(name: str, annotation: str) -> Any:
    """The type a config may give for an argument; None for what is not a number, a word or a truth."""
    if name == "learning_rate" or "mask" in name or "dtype" in name:
        return None
    known = {"bool": bool, "int": int, "str": str, "float": float, "ArrayLike": float, "ScalarOrSchedule": float}
    kind = next((kind for word, kind in known.items() if re.search(rf"\b{word}\b", annotation)), None)
    bounds = next((field for pattern, field in _BOUNDS.items() if re.fullmatch(pattern, name)), None)
    checked: Any = Annotated[float, bounds] if kind is float and bounds else kind
    return checked | None if checked and re.search(r"\b(Optional|None)\b", annotation) else checked


# Optax takes any number; outside these no optimizer means anything.
_BOUNDS = {"b[1-3]|rho|decay|momentum": Field(ge=0, lt=1), "eps.*|weight_decay.*|min_norm|.*step_size": Field(ge=0)}


def _meaning(name: str, docstring: str) -> str:
    """The first sentence on an argument under ``Args:``."""
    found = re.search(rf"^  {name}: (.*(?:\n    .*)*)", docstring, re.MULTILINE)
    return _plain_text(found[1]).split(". ")[0].rstrip(".") if found else ""


def _summary(docstring: str) -> str:
    return _plain_text(docstring.split("\n\n")[0])


def _plain_text(text: str) -> str:
    return re.sub(r":\w+:|`", "", " ".join(text.split()))


class OptaxOptimizer(Optimizer):
    """An optimizer of Optax by its name, with the arguments of the installed Optax's own function.

    Example: `adamw: {lr: 0.001, weight_decay: 0.01}`
    """

    shorthand: ClassVar[str | None] = "lr"

    def build(self, rate: "Rate", decays: Callable[[Any], Any]) -> "optax.GradientTransformation":
        """The Optax function called."""
        import optax

        hidden = signatures()[self.kind].hidden
        masks = {key: decays for key in ("mask", "weight_decay_mask") if key in hidden}
        arguments = {name: getattr(self, name) for name in signatures()[self.kind].arguments}
        return getattr(optax, self.kind)(learning_rate=rate, **masks, **arguments)


class Optimizers(Mapping[str, type[Optimizer]]):
    """SGD and Optax's, by name. Optax's source is read when one of them is asked for."""

    def __getitem__(self, name: str) -> type[Optimizer]:
        return Sgd if name == "sgd" else _optax_optimizer(name)

    def __iter__(self) -> Iterator[str]:
        return iter(("sgd", *signatures()))

    def __len__(self) -> int:
        return 1 + len(signatures())


@functools.cache
def _optax_optimizer(name: str) -> type[Optimizer]:
    """The class of an Optax optimizer. KeyError where there is none of that name."""
    signature = signatures()[name]
    fields: dict[str, Any] = {
        key: (each.type, Field(... if each.required else each.default, description=each.meaning))
        for key, each in signature.arguments.items()
    }
    return create_model(name, __base__=OptaxOptimizer, __doc__=signature.summary, **fields)


AnyOptimizer = Annotated[Any, Choice(Optimizer.family, Optimizers())]
