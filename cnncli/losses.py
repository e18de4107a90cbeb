"""What training makes small. Each loss says which outputs it wants and how they become probabilities.

Two classes may also be told apart by one output, the probability (or score) of the second class.
"""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeFloat

from cnncli.spec import Spec, one_of

if TYPE_CHECKING:
    from jax import Array


class Loss(Spec):
    """Base. ``logits_of``: the kind of final layer whose inputs (the logits) it takes, for numerical stability."""

    family: ClassVar[str] = "loss"
    logits_of: ClassVar[str] = ""
    one_output: ClassVar[bool] = False  # two classes may share one output

    def widths(self, classes: int) -> tuple[int, ...]:
        """Numbers of outputs that fit ``classes``."""
        return (classes, 1) if self.one_output and classes == 2 else (classes,)

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """``outputs`` (B, C) or (B, 1) float32, ``labels`` (B,) int32 -> loss (B,) float32."""
        raise TypeError(f"{self.kind} measures nothing")

    def weighted(self, outputs: "Array", labels: "Array", classes: int, class_weights: "Array") -> "Array":
        """The same (B,), times what the label's class counts in ``class_weights`` (C,)."""
        return class_weights[labels] * self.per_example(outputs, labels, classes)

    def probabilities(self, outputs: "Array") -> "Array":
        """``outputs`` (B, C) or (B, 1) -> class probabilities (B, C) or (B, 2)."""
        import jax

        return jax.nn.softmax(outputs, -1)


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

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """-sum target * log softmax(outputs)."""
        import optax

        return optax.softmax_cross_entropy(outputs, self._target(labels, classes))

    def weighted(self, outputs: "Array", labels: "Array", classes: int, class_weights: "Array") -> "Array":
        """-sum class_weights * target * log softmax(outputs)."""
        import optax

        return optax.softmax_cross_entropy(outputs, class_weights[None] * self._target(labels, classes))

    def _target(self, labels: "Array", classes: int) -> "Array":
        import jax
        import optax

        return optax.smooth_labels(jax.nn.one_hot(labels, classes), self.label_smoothing)


class Focal(Loss):
    """Focal loss, -(1 - p)^gamma log p of the label's probability: easy examples count less. Lin et al. 2017.

    Example: `focal: {gamma: 2}`
    """

    shorthand: ClassVar[str | None] = "gamma"
    aliases: ClassVar[tuple[str, ...]] = ("focal_loss",)
    logits_of: ClassVar[str] = "softmax"

    gamma: NonNegativeFloat = Field(2.0, description="0: cross-entropy; larger: easy examples count less")

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """(1 - p)^gamma * cross-entropy."""
        import jax.numpy as jnp
        import optax

        entropy = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
        wrong = jnp.maximum(-jnp.expm1(-entropy), 1e-12)  # 1 - p; at 0 a power below 1 has no slope
        return jnp.power(wrong, self.gamma) * entropy


class MeanSquaredError(Loss):
    """Mean over the outputs of (output - target)^2, target 1 for the label's output and 0 elsewhere.

    After a final softmax it is taken on the probabilities (the textbook's own loss), else on the outputs as they are.

    Example: `mse`
    """

    kind: ClassVar[str] = "mse"
    aliases: ClassVar[tuple[str, ...]] = ("mean_squared_error", "l2", "euclidean", "quadratic")
    one_output: ClassVar[bool] = True

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """Mean of squares."""
        import jax.numpy as jnp

        return jnp.square(outputs - _targets(outputs, labels, classes)).mean(-1)

    def probabilities(self, outputs: "Array") -> "Array":
        """Outputs scaled to the sum 1, shifted first if any is below 0; one output p is (1 - p, p)."""
        import jax.numpy as jnp

        if outputs.shape[-1] == 1:
            second = jnp.clip(outputs, 0, 1)
            return jnp.concatenate([1 - second, second], -1)
        positive = outputs - jnp.minimum(outputs.min(-1, keepdims=True), 0) + 1e-9  # the largest stays the largest
        return positive / positive.sum(-1, keepdims=True)


class BinaryCrossEntropy(Loss):
    """One yes-or-no question per class, -log of the right answer's probability, mean over the classes, from logits.

    After a final sigmoid it trains on what goes into it. Two classes may share one output.

    Example: `binary_cross_entropy`
    """

    aliases: ClassVar[tuple[str, ...]] = ("bce", "binary_crossentropy", "sigmoid_cross_entropy", "log_loss")
    logits_of: ClassVar[str] = "sigmoid"
    one_output: ClassVar[bool] = True

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """Mean of the answers' entropies."""
        import optax

        return optax.sigmoid_binary_cross_entropy(outputs, _targets(outputs, labels, classes)).mean(-1)

    def probabilities(self, outputs: "Array") -> "Array":
        """Sigmoids scaled to the sum 1, taken through their logarithms; one output is (1 - p, p)."""
        import jax

        return jax.nn.softmax(_two_scores(outputs) if outputs.shape[-1] == 1 else jax.nn.log_sigmoid(outputs), -1)


class Hinge(Loss):
    """Multi-class hinge, sum over the wrong classes of max(0, 1 - s_label + s_wrong), divided by the classes.

    One output s for two classes: max(0, 1 - t s), t = -1 or 1. Weston and Watkins 1999; PyTorch's MultiMarginLoss.
    Probabilities shown are the softmax of the scores, which were not trained as such.

    Example: `hinge`
    """

    aliases: ClassVar[tuple[str, ...]] = ("svm", "margin", "multi_margin", "hinge_loss")
    one_output: ClassVar[bool] = True

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """Margins missed."""
        import jax
        import jax.numpy as jnp

        if outputs.shape[-1] == 1:
            return jnp.maximum(0, 1 - (2 * labels.astype(jnp.float32) - 1) * outputs[:, 0])
        right = jnp.take_along_axis(outputs, labels[:, None], -1)
        missed = jnp.maximum(0, 1 - right + outputs) * (1 - jax.nn.one_hot(labels, classes))
        return missed.sum(-1) / classes

    def probabilities(self, outputs: "Array") -> "Array":
        """Softmax of the scores; one score s counts as (0, s)."""
        import jax

        return jax.nn.softmax(_two_scores(outputs) if outputs.shape[-1] == 1 else outputs, -1)


class RbfMap(Loss):
    """LeNet-5's loss on RBF outputs: y_label + log(exp(-j) + sum exp(-y_i)), y the squared distances to the codes.

    The `rbf` layer gives -y. The second term pushes the other classes away; j keeps it from pushing those that are
    far already. LeCun et al. 1998, equation 9 (a maximum a posteriori criterion).

    Example: `rbf_map: {j: 0.1}`
    """

    shorthand: ClassVar[str | None] = "j"
    aliases: ClassVar[tuple[str, ...]] = ("map", "lenet_loss", "rbf_loss")

    j: float = Field(0.1, gt=0, description="the constant of the rubbish class, in squared distance")

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """Distance to the right code, competition with the others."""
        import jax
        import jax.numpy as jnp

        right = jnp.take_along_axis(outputs, labels[:, None], -1)[:, 0]
        rubbish = jnp.full((*outputs.shape[:-1], 1), -self.j, outputs.dtype)
        return -right + jax.nn.logsumexp(jnp.concatenate([outputs, rubbish], -1), axis=-1)


def _targets(outputs: "Array", labels: "Array", classes: int) -> "Array":
    """One-hot (B, C), or the label itself (B, 1) for a single output."""
    import jax
    import jax.numpy as jnp

    if outputs.shape[-1] == 1:
        return labels.astype(jnp.float32)[:, None]
    return jax.nn.one_hot(labels, classes)


def _two_scores(outputs: "Array") -> "Array":
    """One score s (B, 1) as (0, s) (B, 2), whose softmax is (1 - sigmoid(s), sigmoid(s))."""
    import jax.numpy as jnp

    return jnp.concatenate([jnp.zeros_like(outputs), outputs], -1)


LOSSES = (CrossEntropy, MeanSquaredError, BinaryCrossEntropy, Hinge, Focal, RbfMap)
AnyLoss = one_of(LOSSES)
