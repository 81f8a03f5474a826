"""Structured Bayesian pruning: log-normal noise that closes channels."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_sparse import truncated_log_normal
from keras_sparse._arithmetic.between import Between
from keras_sparse.layers.stochastic_scale import StochasticScale

# Nats that the authors' code of BMRS leaves out of its sum.
_IN_FAVOUR_OF_CLOSING = 0.5 * math.log(2 * math.pi)


@keras.saving.register_keras_serializable(package="keras_sparse")
class LogNormalDropout(StochasticScale):
    """Multiplies channels with truncated log-normal noise.

    While training, each example and channel draws its factor from a
    log-normal distribution cut to [e^-20, 1]. The KL divergence from the
    log-uniform prior on the same interval, which is proper, pushes the noise
    up. In evaluation a channel is multiplied by its mean, or closed (by zero)
    where the mean is no larger than `threshold` deviations.

    Put it behind a linear layer and its activation, or in front of a dense
    one; with ReLU and max pooling the order does not matter. It starts at a
    factor of .9946 with almost no noise, so that a pretrained network may go
    on with it; train with a small learning rate and fixed BatchNormalization
    then. Leave weight decay off its variables.

    Args:
        axis: Axis of the channels. Default: the last.
        kl_weight: Factor of the KL divergence. The ELBO (1, the default)
            prunes little; weights in proportion to a layer's cost make the
            network cheaper rather than smaller (SBPa of the paper: 10 and 5
            in the first convolutions).
        threshold: Signal-to-noise ratio at or below which a channel is closed.
            Noise that is all prior has 1/3.
        rule: `"snr"` (default): that threshold. `"bmrs"`: a channel is closed
            where the evidence does not lose by taking it away; no threshold,
            and it spares channels that the other rule closes. Counted as in
            the authors' code, with .919 nats in favour of closing, without
            which noise that is all prior would stay.
        rate: How many times faster than other weights the layer learns under
            Adam and its kind; its variables hold their values over this. A
            channel closes after log sigma has risen by five or more: with
            Adam at 1e-3 that takes at least 5,000 steps at 1, the default,
            and a tenth of that at 10.
        train_size: Number of training examples. Default: left to
            `callbacks.Anneal`; until it is known the penalty is zero.
        seed: Integer for the noise. Default: follows
            `keras.utils.set_random_seed`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If `kl_weight`, `rate` or `train_size` is not positive, or
            there is no such rule.

    Reference:
        Neklyudov, Molchanov, Ashukha and Vetrov, "Structured Bayesian pruning
        via log-normal multiplicative noise", 2017. Wright, Igel and Selvan,
        "BMRS: Bayesian model reduction for structured pruning", 2024.

    Example:

    >>> import keras, keras_sparse as ks
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8,)),
    ...         keras.layers.Dense(4, activation="relu"),
    ...         ks.layers.LogNormalDropout(train_size=60000),
    ...         keras.layers.Dense(2),
    ...     ]
    ... )
    >>> print(model.layers[1].channel_scale().round(4))
    [0.9946 0.9946 0.9946 0.9946]
    """

    def __init__(
        self, *, threshold: float = 1.0, rule: str = "snr", **kwargs: Any
    ) -> None:
        if rule not in ("snr", "bmrs"):
            raise ValueError(
                f"Expected `rule` to be 'snr' or 'bmrs'. Received: {rule!r}."
            )
        super().__init__(**kwargs)
        self.threshold = threshold
        self.rule = rule

    def build_channels(
        self, channels: int, input_shape: tuple[int | None, ...]
    ) -> None:
        self.mu, self.log_sigma = (
            self.add_weight(
                name=name,
                shape=(channels,),
                initializer=keras.initializers.Constant(start / self.rate),
                constraint=Between(-20 / self.rate, largest / self.rate),
                dtype="float32",
                autocast=False,
            )
            # A mean above the interval is no less certain than its end, and
            # float32 loses the divergence there.
            for name, start, largest in (
                ("mu", 0.0, 0.0),
                ("log_sigma", -5.0, 5.0),
            )
        )

    def sample(self, shape: tuple[Any, ...]) -> Any:
        uniform = keras.random.uniform(
            shape, dtype="float32", seed=self.noise_seed
        )
        return truncated_log_normal.sample(*self._values(), uniform)

    def divergence(self) -> Any:
        return keras.ops.sum(truncated_log_normal.kl(*self._values()))

    def signal_to_noise(self) -> Any:
        """Mean over deviation of each channel's factor, a tensor."""
        return truncated_log_normal.signal_to_noise(*self._values())

    def scale(self) -> Any:
        mean = truncated_log_normal.mean(*self._values())
        return keras.ops.where(
            self._is_open(), mean, keras.ops.zeros_like(mean)
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "rule": self.rule,
        }

    def _values(self) -> tuple[Any, Any]:
        return self.rate * self.mu, self.rate * self.log_sigma

    def _is_open(self) -> Any:
        if self.rule == "snr":
            return self.signal_to_noise() > self.threshold
        gain = truncated_log_normal.evidence_gain(*self._values())
        return gain < -_IN_FAVOUR_OF_CLOSING
