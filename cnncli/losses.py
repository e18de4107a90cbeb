"""What training makes small. Each loss says which outputs it wants and how they become probabilities."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cnncli.spec import Spec, one_of

if TYPE_CHECKING:
    from jax import Array


class Loss(Spec):
    """Base. ``on_logits``: wants what comes before a final softmax, which is the stable form."""

    family: ClassVar[str] = "loss"
    on_logits: ClassVar[bool] = False

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """``outputs`` (B, C) float32, ``labels`` (B,) int32 -> loss (B,) float32, in nats where it is an entropy."""
        raise TypeError(f"{self.kind} measures nothing")

    def probabilities(self, outputs: "Array") -> "Array":
        """``outputs`` (B, C) -> class probabilities (B, C)."""
        import jax.numpy as jnp

        positive = jnp.maximum(outputs, 1e-9)
        return positive / positive.sum(-1, keepdims=True)


class CrossEntropy(Loss):
    """Softmax cross-entropy, -log p(label), computed from logits. Its gradient is p - y.

    ``label_smoothing``: share of the target spread evenly over all classes (Szegedy et al. 2016).

    Example: `cross_entropy: {label_smoothing: 0.1}`
    """

    main: ClassVar[str | None] = None
    words: ClassVar[tuple[str, ...]] = ("crossentropy", "softmax_cross_entropy", "categorical_crossentropy", "nll", "ce")
    on_logits: ClassVar[bool] = True

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """-sum target * log softmax(outputs)."""
        import jax
        import optax

        target = optax.smooth_labels(jax.nn.one_hot(labels, classes), self.label_smoothing)
        return optax.softmax_cross_entropy(outputs, target)

    def probabilities(self, outputs: "Array") -> "Array":
        """Softmax."""
        import jax

        return jax.nn.softmax(outputs, -1)


class MeanSquaredError(Loss):
    """Mean over the classes of (output - target)^2, target 1 for the label and 0 elsewhere.

    After a final softmax it is taken on the probabilities; otherwise on the outputs as they are.

    Example: `mse`
    """

    kind: ClassVar[str] = "mse"
    words: ClassVar[tuple[str, ...]] = ("mean_squared_error", "l2", "euclidean", "quadratic")

    def per_example(self, outputs: "Array", labels: "Array", classes: int) -> "Array":
        """Mean of squares."""
        import jax
        import jax.numpy as jnp

        return jnp.square(outputs - jax.nn.one_hot(labels, classes)).mean(-1)


LOSSES = (CrossEntropy, MeanSquaredError)
AnyLoss = one_of(LOSSES)
