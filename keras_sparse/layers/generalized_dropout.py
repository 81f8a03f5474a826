"""Generalized dropout: keep probabilities learned under a Beta prior."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sparse import _surgery
from keras_sparse._arithmetic.between import Between
from keras_sparse._arithmetic.straight_through import straight_through
from keras_sparse.layers.stochastic_scale import StochasticScale

# Where the logarithms of the prior stop, which have no bound at 0 and 1.
_END = 1e-3


@keras.saving.register_keras_serializable(package="keras_sparse")
class GeneralizedDropout(StochasticScale):
    """Dropout whose keep probability k is learned, for each channel its own.

    While training, each example and channel is multiplied by a draw from
    Bernoulli(k); the gradient passes straight through the draw. In evaluation
    a channel is multiplied by k, or closed where k is below `threshold`.
    Unlike `keras.layers.Dropout` nothing is divided by k. The loss pays
    -(alpha - 1) log k - (beta - 1) log(1 - k), the negative log density of a
    Beta(alpha, beta) prior, over the number of training examples. Its mode
    says what becomes of k:

    - alpha = beta = 1: flat; k follows the data alone (Dropout++).
    - both above 1: (alpha - 1) / (alpha + beta - 2); equal and large they
      are the usual dropout of one half.
    - alpha = 1, beta > 1: 0. alpha > 1, beta = 1: 1. (The paper has these
      two names the other way round.)
    - both below 1: 0 and 1, "stochastic architecture learning": channels are
      closed, or kept without noise. The nearer beta is to 1, the weaker the
      pull to 1, and the more channels close: gates below
      (1 - alpha) / (2 - alpha - beta) drift to 0, those above to 1 and stay
      there, so choose beta near 1 (.999) and start below that point.

    Put it anywhere behind a layer and its activation. Leave weight decay off
    its variable.

    Args:
        alpha: First parameter of the prior, positive. Default: 1.
        beta: Second parameter, positive. Default: 1.
        initial: k at the start, in (0, 1]. Default: 1, no noise.
        threshold: A channel is closed where k is below. Default: .1.
        axis: Axis of the channels. Default: the last.
        kl_weight: Factor of the penalty; 1 is the maximum a posteriori.
        rate: How many times faster than other weights the layer learns under
            Adam and its kind; its variable holds k over this.
        train_size: Number of training examples. Default: left to
            `callbacks.Anneal`; until it is known the penalty is zero.
        seed: Integer for the noise. Default: follows
            `keras.utils.set_random_seed`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Srinivas and Babu, "Generalized dropout", 2016 (arXiv:1611.06791),
        sections 3 and 4.

    Example:

    >>> import keras, keras_sparse as ks
    >>> layer = ks.layers.GeneralizedDropout(0.1, 0.9, initial=0.75)
    >>> layer.build((None, 3))
    >>> layer.channel_scale().tolist()
    [0.75, 0.75, 0.75]
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        *,
        initial: float = 1.0,
        threshold: float = 0.1,
        **kwargs: Any,
    ) -> None:
        shares = 0 < initial <= 1 and 0 <= threshold < 1
        if not (alpha > 0 and beta > 0 and shares):
            raise ValueError(
                "Expected `alpha` and `beta` above 0, `initial` in (0, 1] and "
                f"`threshold` in [0, 1). Received: alpha={alpha!r}, "
                f"beta={beta!r}, initial={initial!r}, threshold={threshold!r}."
            )
        super().__init__(**kwargs)
        self.prior = (alpha, beta)
        self.initial, self.threshold = initial, threshold
        self.told = self.told or self.prior == (1, 1)  # there is nothing to pay

    def build_channels(
        self, channels: int, input_shape: tuple[int | None, ...]
    ) -> None:
        self.keep = self.add_weight(
            name="keep",
            shape=(channels,),
            initializer=keras.initializers.Constant(self.initial / self.rate),
            constraint=Between(0.0, 1.0 / self.rate),
            dtype="float32",
            autocast=False,
        )

    def probabilities(self) -> Any:
        """k of each channel, a tensor."""
        return self.rate * _surgery.read(self.keep)

    def sample(self, shape: tuple[Any, ...]) -> Any:
        keep = ops.broadcast_to(self.probabilities(), shape)
        uniform = keras.random.uniform(
            shape, dtype="float32", seed=self.noise_seed
        )
        draw = ops.cast(uniform < keep, "float32")
        return straight_through(draw, (keep, 1.0))

    def divergence(self) -> Any:
        alpha, beta = self.prior
        keep = self.probabilities()
        return ops.sum(
            (1 - alpha) * ops.log(ops.maximum(keep, _END))
            + (1 - beta) * ops.log(ops.maximum(1 - keep, _END))
        )

    def scale(self) -> Any:
        keep = self.probabilities()
        is_open = keep >= self.threshold
        return ops.where(is_open, keep, ops.zeros_like(keep))

    def get_config(self) -> dict[str, Any]:
        alpha, beta = self.prior
        return {
            **super().get_config(),
            "alpha": alpha,
            "beta": beta,
            "initial": self.initial,
            "threshold": self.threshold,
        }
