"""What training makes small. Each loss says which outputs it takes and how they become probabilities.

Two classes may also be told apart by one output, the probability (or score) of the second class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeFloat
from typing_extensions import override

from cnncli.lazy import lazy_imports
from cnncli.spec import Spec, one_of

with lazy_imports():
    from cnncli.ops import loss

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from cnncli.ops.loss import Labels, Losses, Outputs


class Loss(Spec):
    """Base class of the losses.

    ``logits_of``: the kind of final layer whose inputs (the logits) it takes, for numerical stability.
    ``one_output``: two classes may share one output.
    """

    family: ClassVar[str] = "loss"
    logits_of: ClassVar[str] = ""
    one_output: ClassVar[bool] = False

    def widths(self, classes: int) -> tuple[int, ...]:
        """Numbers of outputs that fit ``classes``."""
        return (classes, 1) if self.one_output and classes == 2 else (classes,)

    def per_example(self, outputs: Outputs, labels: Labels, classes: int) -> Losses:
        """``outputs`` (B, C) or (B, 1) float32, ``labels`` (B,) int32 -> loss (B,) float32.

        By the function of this loss's name in `ops/loss.py`, which gets the fields.
        """
        return getattr(loss, self.kind)(outputs, labels, classes, **dict(self))

    def weighted(self, outputs: Outputs, labels: Labels, classes: int, class_weights: Float[Array, " C"]) -> Losses:
        """The same (B,), times what the label's class counts in ``class_weights`` (C,)."""
        return class_weights[labels] * self.per_example(outputs, labels, classes)

    def probabilities(self, outputs: Outputs) -> Float[Array, "B C"]:
        """``outputs`` (B, C) or (B, 1) -> class probabilities (B, C) or (B, 2). By default their softmax."""
        return loss.softmax(outputs, -1)


class CrossEntropy(Loss):
    """Softmax cross-entropy, -log p(label) in nats, computed from logits. Its gradient is p - y.

    With `class_weights` w and a smoothed target t it is -sum over the classes c of w_c t_c log p_c; the mean of a batch
    is their sum divided by the sum of the labels' weights. Both as in PyTorch's CrossEntropyLoss.

    Example: `cross_entropy: {label_smoothing: 0.1}`
    """

    aliases: ClassVar[tuple[str, ...]] = (
        "crossentropy", "softmax_cross_entropy", "categorical_crossentropy", "nll", "ce",
    )  # fmt: skip
    logits_of: ClassVar[str] = "softmax"

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target spread evenly over all classes (Szegedy et al. 2016)"
    )

    @override
    def weighted(self, outputs: Outputs, labels: Labels, classes: int, class_weights: Float[Array, " C"]) -> Losses:
        return loss.cross_entropy(outputs, labels, classes, self.label_smoothing, class_weights)


class Focal(Loss):
    """Focal loss, -(1 - p)^gamma log p of the label's probability: easy examples count less. Lin et al. 2017.

    Example: `focal: {gamma: 2}`
    """

    shorthand: ClassVar[str | None] = "gamma"
    aliases: ClassVar[tuple[str, ...]] = ("focal_loss",)
    logits_of: ClassVar[str] = "softmax"

    gamma: NonNegativeFloat = Field(2.0, description="0: cross-entropy; larger: easy examples count less")


class MeanSquaredError(Loss):
    """Mean over the outputs of (output - target)^2, target 1 for the label's output and 0 elsewhere.

    After a final softmax it is taken on the probabilities (the textbook's own loss), else on the outputs as they are.

    Example: `mse`
    """

    kind: ClassVar[str] = "mse"
    aliases: ClassVar[tuple[str, ...]] = ("mean_squared_error", "l2", "euclidean", "quadratic")
    one_output: ClassVar[bool] = True

    @override
    def probabilities(self, outputs: Outputs) -> Float[Array, "B C"]:
        return loss.scaled_to_one(outputs)


class BinaryCrossEntropy(Loss):
    """One yes-or-no question per class, -log of the right answer's probability, mean over the classes, from logits.

    After a final sigmoid it trains on what goes into it. Two classes may share one output.

    Example: `binary_cross_entropy`
    """

    aliases: ClassVar[tuple[str, ...]] = ("bce", "binary_crossentropy", "sigmoid_cross_entropy", "log_loss")
    logits_of: ClassVar[str] = "sigmoid"
    one_output: ClassVar[bool] = True

    @override
    def probabilities(self, outputs: Outputs) -> Float[Array, "B C"]:
        return loss.sigmoids_to_one(outputs)


class Hinge(Loss):
    """Multi-class hinge, sum over the wrong classes of max(0, 1 - s_label + s_wrong), divided by the classes.

    One output s for two classes: max(0, 1 - t s), t = -1 or 1. Weston and Watkins 1999; PyTorch's MultiMarginLoss.
    Probabilities shown are the softmax of the scores, which were not trained as such.

    Example: `hinge`
    """

    aliases: ClassVar[tuple[str, ...]] = ("svm", "margin", "multi_margin", "hinge_loss")
    one_output: ClassVar[bool] = True

    @override
    def probabilities(self, outputs: Outputs) -> Float[Array, "B C"]:
        return loss.softmax(loss.two_scores(outputs), -1)


class RbfMap(Loss):
    """LeNet-5's loss on RBF outputs: y_label + log(exp(-j) + sum exp(-y_i)), y the squared distances to the codes.

    The `rbf` layer gives -y. The second term pushes the other classes away; j keeps it from pushing those that are
    far already. LeCun et al. 1998, equation 9 (a maximum a posteriori criterion).

    Example: `rbf_map: {j: 0.1}`
    """

    shorthand: ClassVar[str | None] = "j"
    aliases: ClassVar[tuple[str, ...]] = ("map", "lenet_loss", "rbf_loss")

    j: float = Field(0.1, gt=0, description="the constant of the rubbish class, in squared distance")


LOSSES = (CrossEntropy, MeanSquaredError, BinaryCrossEntropy, Hinge, Focal, RbfMap)
AnyLoss = one_of(LOSSES)
