"""Base class of everything that is configured in YAML: a frozen, strict model whose fields are the YAML's.

A spec is written in three forms: ``name``, ``name: value`` (its shorthand field) or ``name: {field: value, ...}``.
``one_of(family)`` is the type of a field that holds one spec of a family.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema
from typing_extensions import override

NAME = r"[^\W\d][\w-]*"  # of a layer, a block, a parameter; letters and digits of any script
NAME_FOR_EDITORS = r"[^\s\d./:$'\"\[\]{}-][^\s./:$'\"\[\]{}]*"  # there, \w is ASCII: what no name may hold

# What other frameworks call our fields; the first that exists where the word stands is suggested.
FIELD_WORDS = {
    "out_channels": "filters", "channels_out": "filters", "num_filters": "filters", "num_output": "filters units",
    "n_filters": "filters", "nb_filter": "filters", "channels": "filters", "out_planes": "filters",
    "kernel_size": "kernel", "ksize": "kernel", "size": "kernel", "pool_size": "kernel", "window": "kernel",
    "filter_size": "kernel", "strides": "stride", "pad": "padding", "pads": "padding", "dilation_rate": "dilation",
    "dilations": "dilation", "feature_group_count": "groups", "group": "groups", "use_bias": "bias",
    "kernel_initializer": "init", "kernel_init": "init", "weight_init": "init", "initializer": "init",
    "bias_initializer": "bias_init", "out_features": "units", "features": "units filters", "width": "units",
    "neurons": "units", "hidden": "units", "learning_rate": "lr", "lr0": "lr", "eta": "lr", "p": "rate", "drop": "rate",
    "dropout_rate": "rate", "prob": "rate", "eps": "epsilon", "epsilon": "eps", "decay": "weight_decay momentum",
    "negative_slope": "slope", "alpha": "slope scale", "center": "bias", "gamma": "scale", "affine": "scale",
    "beta1": "b1", "beta_1": "b1", "beta2": "b2", "beta_2": "b2", "l2": "weight_decay", "wd": "weight_decay",
    "n_epochs": "epochs", "num_epochs": "epochs", "max_epochs": "epochs", "batch": "batch_size", "bs": "batch_size",
    "batchsize": "batch_size", "criterion": "loss", "scheduler": "schedule", "lr_scheduler": "schedule",
    "optim": "optimizer", "transforms": "preprocess", "transform": "preprocess", "augmentation": "augment",
    "augmentations": "augment", "dataset": "source", "val_split": "validation", "validation_split": "validation",
    "warmup_steps": "warmup", "warmup_epochs": "warmup", "random_seed": "seed", "input_shape": "input",
    "in_shape": "input", "dtype": "precision", "amp": "precision", "mixed_precision": "precision",
    "early_stopping": "early_stop", "grad_clip": "clip_norm", "gradient_clip": "clip_norm", "clip": "clip_norm",
    "max_norm": "clip_norm", "checkpoint_every": "save_every", "n": "times", "count": "times", "root": "dir path",
    "data_dir": "dir path", "directory": "path dir", "folder": "path dir", "shape": "input size",
}  # fmt: skip

# Fields of other frameworks that do not exist here, and why.
NO_FIELD = {
    **dict.fromkeys(("in_channels", "in_features", "input_dim", "in_planes"), "It follows from the layer before."),
    "shuffle": "Training images are always shuffled, by the seed.",
    "device": "JAX chooses: see `cnn doctor`.", "gpu": "JAX chooses: see `cnn doctor`.",
    "metrics": "Loss and accuracy are always measured.",
    "random_resized_crop.scale": "Write area: 0.08 for a scale of 0.08 to 1.",
    "random_resized_crop.ratio": "Write aspect: 1.33 for a ratio of 3/4 to 4/3.",
}  # fmt: skip

# Kinds whose name means another layer elsewhere: that one is suggested where a field does not exist here.
OTHERWISE = {"linear": "fc"}

MANY = 14  # words that are listed where one of them was meant; of more, the FEW nearest are
FEW = 5


def snake_case(name: str) -> str:
    """``MaxPool`` -> ``max_pool``, ``Conv1d`` -> ``conv1d``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Settings(BaseModel):
    """Frozen, strict, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def to_yaml(self) -> Any:
        """As plain data with every field filled in, which reads back to an equal object."""
        return {info.alias or name: plain(getattr(self, name)) for name, info in type(self).model_fields.items()}


class Spec(Settings):
    """One choice of a family (a layer, a source, a loss ...).

    ``kind``: its word in YAML, by default the class's name without its family. ``shorthand``: the field that may stand
    alone. ``aliases``: what others call it.
    """

    family: ClassVar[str] = "spec"
    kind: ClassVar[str] = "spec"
    shorthand: ClassVar[str | None] = None
    aliases: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "kind" not in cls.__dict__:
            cls.kind = snake_case(cls.__name__).removesuffix(f"_{cls.family}")

    @classmethod
    def from_yaml(cls, value: Any) -> Self:
        """Read any of the three written forms."""
        inner = value[cls.kind] if isinstance(value, dict) else None
        if inner is None or isinstance(inner, dict):
            return cls.model_validate(inner or {})
        if cls.shorthand is None:
            names = ", ".join(info.alias or name for name, info in cls.model_fields.items())
            hint = OTHERWISE.get(cls.kind)
            hint = f"Did you mean {hint}?" if hint else f"Fields: {names}." if names else "It has no fields."
            raise PydanticCustomError("no_main", "{kind} takes no bare value, got {got}",
                                      {"kind": cls.kind, "got": describe(inner), "hint": hint})  # fmt: skip
        return cls.model_validate({cls.shorthand: inner})

    @override
    def to_yaml(self) -> Any:
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


def nearest(word: str, known: Sequence[str], others: Mapping[str, str] | None = None) -> str | None:
    """Which of ``known`` was meant: by another framework's word for it (``others``), or a near miss."""
    written = snake_case(word)
    for name in (others or {}).get(written, "").split():
        if name in known:
            return name
    return next(iter(difflib.get_close_matches(written, known, n=1, cutoff=0.7)), None)


def did_you_mean(word: str, known: Sequence[str], others: Mapping[str, str] | None = None) -> str:
    """``Did you mean conv?``, or the list of what is known."""
    match = nearest(word, known, others)
    if match:
        return f"Did you mean {match}?"
    shown = known if len(known) <= MANY else difflib.get_close_matches(snake_case(word), known, n=FEW, cutoff=0)
    more = f" and {len(known) - FEW} more" if shown is not known else ""
    return f"Known: {', '.join(sorted(shown))}{more}." if known else ""


def describe(value: Any) -> str:
    """A value in an error message: ``3``, ``text 'abc'``, ``a list``."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"{value}".lower()
        case int() | float():
            return f"{value}"
        case str():
            return f"text {value!r}" if len(value) < 60 else f"text {value[:57] + '...'!r}"
        case dict():
            keys = ", ".join(str(key) for key in list(value)[:4])
            return f"a mapping with {keys}" if value else "an empty mapping"
        case _:
            return "a list" if isinstance(value, (list, tuple)) else type(value).__name__


class Choice:
    """The type of a field that holds one spec of a family, in any written form.

    ``members``: the family's specs by their kind. The schema of a member is built when a file first uses it: building
    all of them takes longer than reading a config.
    """

    def __init__(self, family: str, members: Mapping[str, type[Spec]]) -> None:
        self.family = family
        self.members = members

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        read: dict[Any, Any] = {
            kind: core_schema.no_info_plain_validator_function(functools.partial(self._read, kind))
            for kind in self.members
        }
        union = core_schema.tagged_union_schema(read, discriminator=_kind)  # puts the kind into errors' locations
        return core_schema.no_info_before_validator_function(self._check_kind, union)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"family": self.family, "anyOf": [{"const": kind} for kind in self.members]}

    def _read(self, kind: str, value: Any) -> Spec:
        return value if isinstance(value, Spec) else self.members[kind].from_yaml(value)

    def _check_kind(self, value: Any) -> Any:
        kind = _kind(value)
        if kind is None or (isinstance(value, Spec) and type(value) is not self.members.get(kind)):
            what = f"expected one {self.family}: name, name: value or name: {{field: value}}"
            raise PydanticCustomError("not_a_spec", "{what}, got {got}", {"what": what, "got": describe(value)})
        if kind not in self.members:
            raise PydanticCustomError("unknown_kind", "unknown {family} '{kind}'",
                                      {"family": self.family, "kind": kind, "choice": self})  # fmt: skip
        return value

    def hint(self, kind: str) -> str:
        """Which member was meant by an unknown word. Takes a while: only for errors that are shown."""
        words = {word: name for name, member in self.members.items() for word in member.aliases}
        hint = did_you_mean(kind, list(self.members), words)
        return f"{hint} `cnn layers` lists all." if " more." in hint else hint


def _kind(value: Any) -> str | None:
    """The kind of a spec, or of its written form; None for what is neither."""
    if isinstance(value, Spec):
        return value.kind
    kind = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else value
    return kind if isinstance(kind, str) else None


def one_of(members: Sequence[type[Spec]]) -> Any:
    """The type of a field that holds one spec out of ``members``."""
    return Annotated[Any, Choice(members[0].family, {member.kind: member for member in members})]


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


@dataclass(frozen=True)
class Pattern:
    """Text that matches ``regex``, which errors call ``meaning``. ``for_editors``: the JSON Schema's own regex."""

    regex: str
    meaning: str
    for_editors: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        matched = core_schema.custom_error_schema(
            core_schema.str_schema(pattern=self.regex),
            custom_error_type="text_pattern",
            custom_error_message="expected {expected}",
            custom_error_context={"expected": self.meaning},
        )
        return core_schema.chain_schema([handler(source), matched])

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.for_editors or self.regex}
