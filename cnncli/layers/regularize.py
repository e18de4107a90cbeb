"""Regularisation: noise in training, nothing at test."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from cnncli.layers.base import Context, Layer, Variables


class Dropout(Layer):
    """Inverted dropout: in training each value is zeroed with probability ``rate``, the rest grow by 1 / (1 - rate).

    Any input -> the same shape; the expectation is unchanged; at test it does nothing.
    Source: Srivastava et al. 2014; per channel: Tompson et al. 2015; per example: Huang et al. 2016.

    Example: `dropout: 0.5`  (84,) -> (84,), 0 parameters
    """

    main: ClassVar[str | None] = "rate"
    words: ClassVar[tuple[str, ...]] = ("drop", "dropout2d", "spatial_dropout", "drop_path", "stochastic_depth")

    rate: float = Field(0.5, ge=0, lt=1, description="probability of zeroing a value")
    per: Literal["unit", "channel", "example"] = Field(
        "unit", description="zeroed at a time; channel: a whole map (spatial dropout); example: all (stochastic depth)"
    )

    def apply(self, variables: Variables, x: Any, ctx: Context) -> tuple[Any, dict[str, Any]]:
        """(B, ...) -> the same."""
        import jax
        import jax.numpy as jnp

        if not ctx.train or self.rate == 0:
            return x, {}
        ones = (1,) * (x.ndim - 2)
        shapes = {"unit": x.shape, "channel": (x.shape[0], *ones, x.shape[-1]), "example": (x.shape[0], *ones, 1)}
        kept = jax.random.bernoulli(ctx.key, 1 - self.rate, shapes[self.per])
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros((), x.dtype)), {}
