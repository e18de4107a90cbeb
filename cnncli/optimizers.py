"""SGD, and every optimizer of Optax by its own name with its own arguments.

Optax's are listed in optimizers.json, which `python tests/helpers/optax_table.py` writes from Optax's source. So they
are known without importing Optax.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, create_model
from typing_extensions import override

from cnncli.lazy import lazy_imports
from cnncli.spec import Choice, Spec

with lazy_imports():
    from cnncli.ops import optimizer

if TYPE_CHECKING:
    from optax import GradientTransformation

    from cnncli.ops.optimizer import Decays
    from cnncli.ops.schedule import Rate


class Optimizer(Spec):
    """Base class of the optimizers: how gradients become updates."""

    family: ClassVar[str] = "optimizer"
    shorthand: ClassVar[str | None] = "lr"

    lr: PositiveFloat = Field(description="learning rate; the schedule changes it over time")

    def build(self, rate: Rate, decays: Decays) -> GradientTransformation:
        """The transformation of gradients, with the learning rate ``rate`` and weight decay where ``decays`` says."""
        raise TypeError(f"{self.kind} updates nothing")


class Sgd(Optimizer):
    """Stochastic gradient descent: v = momentum * v + g + weight_decay * w; w = w - lr * v (PyTorch's convention).

    Weight decay leaves biases and norm parameters alone. Source: Robbins and Monro 1951; Polyak 1964; Nesterov 1983.

    Example: `sgd: {lr: 0.05, momentum: 0.9}`
    """

    aliases: ClassVar[tuple[str, ...]] = ("momentum", "nesterov", "gradient_descent")

    momentum: float = Field(0.0, ge=0, lt=1, description="share of the last update kept")
    nesterov: bool = Field(False, description="look ahead along the momentum")
    weight_decay: NonNegativeFloat = Field(0.0, description="added to the gradient, times the weight")

    @override
    def build(self, rate: Rate, decays: Decays) -> GradientTransformation:
        return optimizer.sgd(rate, self.momentum, self.nesterov, self.weight_decay, decays)


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

# Optax takes any number; outside these no optimizer means anything.
BOUNDS: dict[str, Any] = {
    "b[1-3]|rho|decay|momentum": Field(ge=0, lt=1),
    "eps.*|weight_decay.*|min_norm|.*step_size": Field(ge=0),
}
TYPES = {"float": float, "int": int, "bool": bool, "str": str}


class OptaxOptimizer(Optimizer):
    """An optimizer of Optax by its name, with its arguments. ``masks``: those that say what weight decay may touch.

    Example: `adamw: {lr: 0.001, weight_decay: 0.01}`
    """

    masks: ClassVar[tuple[str, ...]] = ()

    @override
    def build(self, rate: Rate, decays: Decays) -> GradientTransformation:
        arguments = {name: value for name, value in self if name != "lr"}
        return optimizer.by_name(self.kind, rate, **arguments, **dict.fromkeys(self.masks, decays))


@functools.cache
def optax_table() -> dict[str, Any]:
    """``optax``: the version that was read. ``optimizers``: by name, summary, arguments and masks."""
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


class Optimizers(Mapping[str, type[Optimizer]]):
    """SGD and Optax's, by name. The class of one of Optax's is made when it is first asked for."""

    def __getitem__(self, name: str) -> type[Optimizer]:
        return Sgd if name == "sgd" else _optax_optimizer(name)

    def __iter__(self) -> Iterator[str]:
        return iter(("sgd", *optax_table()["optimizers"]))

    def __len__(self) -> int:
        return 1 + len(optax_table()["optimizers"])


@functools.cache
def _optax_optimizer(name: str) -> type[Optimizer]:
    """The class of an Optax optimizer. KeyError where there is none of that name."""
    listed = optax_table()["optimizers"][name]
    summary = " ".join([listed["summary"], *filter(None, [DIFFERENCES.get(name)])])
    fields: dict[str, Any] = {key: _field(key, **argument) for key, argument in listed["arguments"].items()}
    made = create_model(name, __base__=OptaxOptimizer, __doc__=summary, **fields)
    made.masks = tuple(listed["masks"])
    return made


def _field(name: str, type: str, description: str, default: Any = ...) -> tuple[Any, Any]:
    """The type and field of an argument, as ``create_model`` takes them."""
    word, _, optional = type.partition(" | ")
    bounds = next((bounds for pattern, bounds in BOUNDS.items() if re.fullmatch(pattern, name)), None)
    kind: Any = Annotated[float, bounds] if word == "float" and bounds else TYPES[word]
    return kind | None if optional else kind, Field(default, description=description)


AnyOptimizer = Annotated[Any, Choice(Optimizer.family, Optimizers())]
