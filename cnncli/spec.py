"""What has settings is its own spec: a frozen, strict model whose fields are the YAML's.

A spec is written in three forms: ``name``, ``name: value`` (its main field) or ``name: {field: value, ...}``.
``one_of(family)`` is the type of a field that holds one spec of a family.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

# What other frameworks call our fields. A suggestion is made only where the field exists.
FIELD_WORDS = {
    "out_channels": "filters", "channels_out": "filters", "num_filters": "filters", "num_output": "filters",
    "kernel_size": "kernel", "ksize": "kernel", "size": "kernel", "pool_size": "kernel", "window": "kernel",
    "strides": "stride", "pad": "padding", "pads": "padding", "dilation_rate": "dilation", "dilations": "dilation",
    "feature_group_count": "groups", "group": "groups", "use_bias": "bias", "kernel_initializer": "init",
    "out_features": "units", "features": "units", "width": "units", "neurons": "units",
    "learning_rate": "lr", "lr0": "lr", "eta": "lr", "p": "rate", "drop": "rate", "eps": "epsilon",
    "negative_slope": "slope", "alpha": "slope", "n_epochs": "epochs", "num_epochs": "epochs", "max_epochs": "epochs",
    "batch": "batch_size", "bs": "batch_size", "criterion": "loss", "scheduler": "schedule", "lr_scheduler": "schedule",
    "optim": "optimizer", "transforms": "preprocess", "augmentation": "augment", "dataset": "source",
    "val_split": "validation", "validation_split": "validation", "warmup_steps": "warmup", "warmup_epochs": "warmup",
    "random_seed": "seed", "input_shape": "input", "dtype": "precision", "amp": "precision",
    "early_stopping": "early_stop", "times": "times", "root": "dir", "data_dir": "dir", "directory": "path",
}  # fmt: skip


def snake_case(name: str) -> str:
    """``MaxPool`` -> ``max_pool``, ``Conv1d`` -> ``conv1d``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Settings(BaseModel):
    """Frozen, strict, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True
    )

    def to_yaml(self) -> Any:
        """As plain data with every field filled in, which reads back to an equal object."""
        return {info.alias or name: plain(getattr(self, name)) for name, info in type(self).model_fields.items()}


class Spec(Settings):
    """One choice of a family (a layer, a source, a loss ...).

    ``kind``: its word in YAML. ``main``: the field that may stand alone. ``words``: what others call it.
    """

    family: ClassVar[str] = "spec"
    kind: ClassVar[str] = "spec"
    main: ClassVar[str | None] = None
    words: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "kind" not in cls.__dict__:
            cls.kind = snake_case(cls.__name__)

    def to_yaml(self) -> Any:
        """In the ``name: {every field}`` form."""
        return {self.kind: super().to_yaml()}


def plain(value: Any) -> Any:
    """Settings and tuples to what YAML and JSON hold."""
    if isinstance(value, Settings):
        return value.to_yaml()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def did_you_mean(word: str, known: Sequence[str], others: dict[str, str] | None = None) -> str:
    """``Did you mean conv?``: another framework's word, a near miss, or the list of what is known."""
    match = (others or {}).get(word.lower())
    if match not in known:
        near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
        match = near[0] if near else None
    if match:
        return f"Did you mean {match}?"
    listed = ", ".join(sorted(known)[:40])
    return f"Known: {listed}." if known else ""


def describe(value: Any) -> str:
    """What came, in words: ``number 3``, ``text 'abc'``, ``a list``."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"{value}".lower()
        case int() | float():
            return f"number {value}"
        case str():
            return f"text {value!r}" if len(value) < 60 else f"text {value[:57]!r}..."
        case dict():
            keys = ", ".join(str(key) for key in list(value)[:4])
            return f"a mapping with {keys}" if value else "an empty mapping"
        case _:
            return "a list" if isinstance(value, (list, tuple)) else type(value).__name__


def _kind_of(value: Any) -> str | None:
    if isinstance(value, Spec):
        return value.kind
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        return str(next(iter(value)))
    return None


def _known(family: str, members: dict[str, type[Spec]], value: Any) -> Any:
    """Refuse what is not one known spec, in words."""
    kind = _kind_of(value)
    if kind is None:
        raise PydanticCustomError(
            "not_a_spec",
            "expected one {family}: `name`, `name: value` or `name: {{field: value}}`, got {got}",
            {"family": family, "got": describe(value)},
        )
    if kind not in members:
        others = {word: name for name, member in members.items() for word in member.words}
        hint = did_you_mean(kind, list(members), others)
        raise PydanticCustomError(
            "unknown_kind", "unknown {family} '{kind}'", {"family": family, "kind": kind, "hint": hint}
        )
    return value


def _fields(member: type[Spec], value: Any) -> Any:
    """The three written forms to a mapping of fields."""
    if isinstance(value, member):
        return value
    inner = None if isinstance(value, str) else value[member.kind]
    if inner is None:
        return {}
    if isinstance(inner, dict):
        return inner
    if member.main is None:
        names = ", ".join(member.model_fields)
        raise PydanticCustomError(
            "no_main",
            "{kind} takes no bare value, got {got}",
            {"kind": member.kind, "got": describe(inner), "hint": f"Fields: {names}." if names else "It has no fields."},
        )
    return {member.main: inner}


def one_of(members: Sequence[type[Spec]]) -> Any:
    """The type of a field that holds one spec out of ``members``."""
    by_kind = {member.kind: member for member in members}
    choices = tuple(Annotated[m, BeforeValidator(partial(_fields, m)), Tag(m.kind)] for m in members)
    known = BeforeValidator(partial(_known, members[0].family, by_kind))
    if len(choices) == 1:  # a union of one is no union: keep its tag in the path all the same
        choices = (*choices, Annotated[_Never, Tag("")])
    return Annotated[Union[choices], Discriminator(_kind_of), known]  # noqa: UP007 (built at run time)


class _Never(Spec):
    """A second member for unions of one. No text selects it."""


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _to_pair(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, list, tuple)):
        raise PydanticCustomError("pair", "expected a number or [height, width], got {got}", {"got": describe(value)})
    return (value, value) if isinstance(value, int) else tuple(value)


def sequence(item: Any) -> Any:
    """``[item, ...]`` in YAML, a tuple in Python."""
    return Annotated[tuple[item, ...], BeforeValidator(_to_tuple)]


def pair(item: Any) -> Any:
    """A number for both axes or ``[height, width]``."""
    schema = {"type": "integer"}
    both = {"type": "array", "items": schema, "minItems": 2, "maxItems": 2}
    return Annotated[tuple[item, item], BeforeValidator(_to_pair), WithJsonSchema({"anyOf": [schema, both]})]


def check(test: Callable[[Any], Any]) -> Any:
    """A before-validator from a function; a short name for annotations."""
    return BeforeValidator(test)
