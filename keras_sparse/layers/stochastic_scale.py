"""What layers that scale channels with learned noise have in common."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse._arithmetic.axes import channel_axis, channel_count
from keras_sparse._arithmetic.noise import NoiseSeed, is_noisy
from keras_sparse._mechanism.penalty import PenaltyOfLayer
from keras_sparse._per_example import PerExample


class StochasticScale(PerExample, keras.layers.Layer):
    """Scales channels: by noise while training, by fixed numbers after.

    A subclass creates variables of shape (channels,) in `build_channels`, and
    says how to `sample` and what the `divergence` and the `scale` are. A
    channel whose scale is zero is closed. The penalty, `kl_weight` times the
    divergence over the number of training examples, is a regularizer of the
    first variable, so it counts once however often the layer is used.

    Args:
        axis: Axis of the channels. Default: the last.
        kl_weight: Factor of the penalty; larger values close more channels.
        rate: How many times faster than other weights the layer learns under
            Adam and its kind; its variables hold their values over this.
        train_size: Number of training examples. Default: left to
            `callbacks.Anneal`.
        seed: Integer for the noise. Default: follows
            `keras.utils.set_random_seed`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If `kl_weight`, `rate` or `train_size` is not positive.
    """

    def __init__(
        self,
        *,
        axis: int = -1,
        kl_weight: float = 1.0,
        rate: float = 1.0,
        train_size: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if kl_weight <= 0 or rate <= 0:
            raise ValueError(
                "Expected `kl_weight` and `rate` to be positive. Received: "
                f"kl_weight={kl_weight}, rate={rate}. To train without the "
                "penalty, let `callbacks.Anneal` keep it at zero."
            )
        super().__init__(train_size=train_size, **kwargs)
        self.axis = axis
        self.kl_weight = kl_weight
        self.rate = rate
        self.seed = seed
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        axis = channel_axis(self.axis, input_shape)
        channels = channel_count(self.axis, input_shape, self.name)
        self.input_spec = keras.layers.InputSpec(
            ndim=len(input_shape), axes={axis: channels}
        )
        self.build_channels(channels, input_shape)
        carrier = _surgery.variables_to_train(self)[0]
        self.noise_seed = NoiseSeed(self.seed, path=carrier.path)
        self.add_penalty_scale()
        carrier.regularizer = PenaltyOfLayer(self.penalty)

    def build_channels(
        self, channels: int, input_shape: tuple[int | None, ...]
    ) -> None:
        """Creates the trainable variables, all of shape (channels,)."""
        raise NotImplementedError

    def sample(self, shape: tuple[Any, ...]) -> Any:
        """Noise of shape (batch, channels), float32."""
        raise NotImplementedError

    def divergence(self) -> Any:
        """KL divergence of the noise from its prior, a scalar in nats."""
        raise NotImplementedError

    def scale(self) -> Any:
        """What channels are scaled by in evaluation, zero where closed."""
        raise NotImplementedError

    def channel_scale(self) -> NDArray[np.float32]:
        """The scale of each channel in evaluation, zero where it is closed.

        Returns:
            An array of shape (channels,).
        """
        return keras.ops.convert_to_numpy(self.scale())

    def nats(self) -> Any:
        return self.kl_weight * self.divergence()

    def penalty(self) -> Any:
        """What the loss pays for the noise, a scalar."""
        return self.scaled(self.nats())

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        axis = channel_axis(self.axis, inputs.shape)
        spread = [1] * len(inputs.shape)
        spread[axis] = inputs.shape[axis]
        if is_noisy(training, self.trainable):
            if training:
                self.note_training()
            batch = keras.ops.shape(inputs)[0]
            scale = self.sample((batch, inputs.shape[axis]))
            spread[0] = -1
        else:
            scale = self.scale()
        scale = keras.ops.reshape(scale, spread)
        return inputs * keras.ops.cast(scale, inputs.dtype)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "kl_weight": self.kl_weight,
            "rate": self.rate,
            "seed": self.seed,
        }
