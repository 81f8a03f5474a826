"""Variational information bottleneck: Gaussian noise that closes channels."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_sparse._arithmetic.axes import channel_axis
from keras_sparse.layers.stochastic_scale import StochasticScale

# Keeps log alpha finite where the mean is zero.
_TINY = 1e-8


@keras.saving.register_keras_serializable(package="keras_sparse")
class InformationBottleneck(StochasticScale):
    """Multiplies channels with Gaussian noise of learned mean and variance.

    While training, each example and channel draws its factor from
    N(mu, sigma^2). The penalty bounds what a channel tells the next layer,
    .5 log(1 + mu^2 / sigma^2), times the positions that it has in the feature
    map. In evaluation a channel is multiplied by mu, or closed (by zero)
    where log alpha = log(sigma^2 / mu^2) reaches `threshold`. Some texts call
    the inverse of this alpha by the same name.

    Put it behind a layer and its activation. It starts near a factor of one
    with little noise, so that a pretrained network may go on with it. Leave
    weight decay off its variables.

    Args:
        axis: Axis of the channels. Default: the last.
        kl_weight: Factor of the penalty. The paper's settings, 1e-5 to 3e-5
            beside a mean loss, are .6 to 1.8 for 60,000 training examples.
        threshold: log alpha from which on a channel is closed.
        area: Positions of a channel in the feature map. Default: taken from
            the shape of the inputs, 1 behind a dense layer.
        rate: How many times faster than other weights the layer learns under
            Adam and its kind; its variables hold their values over this.
        train_size: Number of training examples. Default: left to
            `callbacks.Anneal`; until it is known the penalty is zero.
        seed: Integer for the noise. Default: follows
            `keras.utils.set_random_seed`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If `kl_weight`, `rate`, `area` or `train_size` is not
            positive, or the area is neither given nor in the shape of the
            inputs.

    Reference:
        Dai, Zhu, Guo and Wipf, "Compressing neural networks using the
        variational information bottleneck", 2018.

    Example:

    >>> import keras, keras_sparse as ks
    >>> layer = ks.layers.InformationBottleneck(train_size=60000)
    >>> layer.build((None, 7, 7, 16))
    >>> layer.positions, layer.channel_scale().shape
    (49, (16,))
    """

    def __init__(
        self,
        *,
        threshold: float = 0.0,
        area: int | None = None,
        **kwargs: Any,
    ) -> None:
        if area is not None and area < 1:
            raise ValueError(
                "Expected `area`, the positions of a channel, to be positive. "
                f"Received: {area}."
            )
        super().__init__(**kwargs)
        self.threshold = threshold
        self.area = area

    def build_channels(
        self, channels: int, input_shape: tuple[int | None, ...]
    ) -> None:
        self.positions = self.area or self._positions(input_shape)
        self.mu, self.log_sigma2 = (
            self.add_weight(
                name=name,
                shape=(channels,),
                initializer=keras.initializers.RandomNormal(
                    mean / self.rate, 0.01 / self.rate
                ),
                dtype="float32",
                autocast=False,
            )
            for name, mean in (("mu", 1.0), ("log_sigma2", -9.0))
        )

    def sample(self, shape: tuple[Any, ...]) -> Any:
        normal = keras.random.normal(
            shape, dtype="float32", seed=self.noise_seed
        )
        mu, log_sigma2 = self._values()
        return mu + keras.ops.exp(0.5 * log_sigma2) * normal

    def log_alpha(self) -> Any:
        """log(sigma^2 / mu^2) of each channel, a tensor."""
        mu, log_sigma2 = self._values()
        return log_sigma2 - keras.ops.log(keras.ops.square(mu) + _TINY)

    def divergence(self) -> Any:
        information = 0.5 * keras.ops.softplus(-self.log_alpha())
        return self.positions * keras.ops.sum(information)

    def scale(self) -> Any:
        mu, _ = self._values()
        is_open = self.log_alpha() < self.threshold
        return keras.ops.where(is_open, mu, keras.ops.zeros_like(mu))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "area": self.area,
        }

    def _values(self) -> tuple[Any, Any]:
        return self.rate * self.mu, self.rate * self.log_sigma2

    def _positions(self, input_shape: tuple[int | None, ...]) -> int:
        channels_at = channel_axis(self.axis, input_shape)
        sizes = [
            size
            for axis, size in enumerate(input_shape)
            if axis not in (0, channels_at)
        ]
        if any(size is None for size in sizes):
            raise ValueError(
                f"Expected inputs of a known size for {self.name!r}, whose "
                "penalty grows with a channel's positions. Received inputs of "
                f"shape {input_shape}. Pass `area`, the positions of a "
                "typical example."
            )
        return math.prod(size for size in sizes if size is not None)
