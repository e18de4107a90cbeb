"""The whole config, assembled from the specs of its parts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, WithJsonSchema
from pydantic_core import PydanticCustomError

from cnncli.data.sources import AnySource
from cnncli.data.transforms.augment import Augmentations
from cnncli.data.transforms.preprocess import Steps
from cnncli.durations import LongDuration, LongTime
from cnncli.layers import Entries
from cnncli.losses import AnyLoss, CrossEntropy
from cnncli.optimizers import AnyOptimizer
from cnncli.paths import PathText
from cnncli.schedules import AnySchedule, ConstantSchedule
from cnncli.spec import Settings, describe, sequence

RUN_NAME = r"^[^\W_][\w.-]*$"  # letters and digits of any script, then also . _ -
MAX_NAME = 100  # bytes: run folders add a number


def _run_name(value: Any) -> Any:
    if isinstance(value, str) and (len(value.encode()) > MAX_NAME or not re.fullmatch(RUN_NAME, value)):
        hint = "Use letters, digits, '.', '_' and '-', beginning with a letter or digit: it names a folder."
        raise PydanticCustomError("run_name", "not a name for a run: {got}", {"got": describe(value), "hint": hint})
    return value


_for_editors = r"^[^\s./:$'\"\[\]{}_-][^\s/:$'\"\[\]{}]*$"  # there, \w is ASCII: what no name may hold
_json = {"type": "string", "pattern": _for_editors, "maxLength": MAX_NAME}
RunName = Annotated[str, BeforeValidator(_run_name), WithJsonSchema(_json)]


if TYPE_CHECKING:
    BatchSize = int
else:  # auto is resolved before training begins: all later code sees a number
    BatchSize = Annotated[PositiveInt, Field(le=1 << 20)] | Literal["auto"]
Weights: Any = Annotated[sequence(PositiveFloat), Field(min_length=1)]


class DataSettings(Settings):
    """Where images come from and what is done to them."""

    source: AnySource = Field(description="digits, mnist, fashion_mnist, cifar10, cifar100, folder, npz, idx or inline")
    dir: PathText | None = Field(None, description="folder to look in for a named set's files first")
    validation: float = Field(
        0.1, ge=0, lt=1, description="share of the training images kept aside to choose by (0: none); "
        "not used where the source has a validation split"
    )  # fmt: skip
    validation_rounding: Literal["half_to_one", "half_to_even"] = Field(
        "half_to_one", description="what half a validation image is rounded to, as of a class of 5 at 0.1: one image, "
        "or the even number, none; half_to_even in runs from before there was a choice"
    )  # fmt: skip
    preprocess: Steps = Field((), description="done to every image; fitted on training images only")
    augment: Augmentations = Field((), description="random changes to training images, on the device")


class ModelSettings(Settings):
    """The network."""

    input: sequence(PositiveInt) = Field(  # type: ignore[valid-type]
        min_length=1, max_length=3, description="[height, width, channels], [length, channels] or [units]"
    )
    layers: Entries = Field(min_length=1, description="the layers in order")


class EarlyStop(Settings):
    """Stop when validation no longer gets better."""

    patience: PositiveInt = Field(5, description="epochs without improvement to wait")
    metric: Literal["loss", "accuracy"] = Field("loss", description="which validation figure")
    min_delta: float = Field(0.0, ge=0, description="least change that counts as better")


class TrainSettings(Settings):
    """How it is trained."""

    epochs: PositiveInt = Field(10, le=1_000_000, description="passes over the training images")
    batch_size: BatchSize = Field(
        128,
        description="images a step; auto: as many as fit into memory, a power of two, at most 1,024, with at least 50 "
        "steps an epoch (16 images are always allowed)",
    )
    loss: AnyLoss = Field(CrossEntropy(), description="what training makes small")
    class_weights: Literal["balanced"] | Weights | None = Field(
        None, description="what an example of each class counts: balanced (rare classes more), or a number per class"
    )
    optimizer: AnyOptimizer = Field(description="sgd, or an Optax optimizer by its name")
    schedule: AnySchedule = Field(ConstantSchedule(), description="how the learning rate goes over time")
    clip_norm: PositiveFloat | None = Field(None, description="longest gradient (global L2 norm); longer are scaled")
    ema: float | None = Field(None, gt=0, lt=1, examples=[0.999], description="decay of a moving average of the "
                              "weights, used in evaluation and prediction")  # fmt: skip
    early_stop: EarlyStop | None = Field(
        None, examples=[{"patience": 3}], description="stop when validation no longer gets better"
    )  # fmt: skip
    max_time: LongTime | None = Field(None, description="stop after the epoch in which this much time has passed")
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32", description="of the computation; weights are float32. auto: bfloat16 where the hardware multiplies "
        "it faster and a trial of it learns as well"
    )  # fmt: skip
    on_nan: Literal["stop", "restore"] = Field(
        "stop", description="when the loss is not finite: stop, or go back to the last good checkpoint with half the "
        "learning rate, at most three times"
    )  # fmt: skip
    watch: bool = Field(False, description="record each layer's activations, gradients and updates once an epoch, and "
                        "warn of dead or saturated units and vanishing gradients")  # fmt: skip
    log_every: LongDuration = Field("100 steps", description="how often a line of training loss goes to metrics.jsonl")
    save_every: LongDuration = Field("1 epoch", description="how often a checkpoint is written")
    keep: PositiveInt = Field(3, description="newest checkpoints kept, besides the best")


class Config(Settings):
    """A config file: data, model, training."""

    name: RunName = Field(description="names the run's folder; the file's name unless given")
    seed: NonNegativeInt = Field(0, le=(1 << 31) - 1, description="every random choice follows from it")
    data: DataSettings
    model: ModelSettings
    train: TrainSettings
