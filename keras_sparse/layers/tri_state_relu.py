"""Tri-state ReLU: which units, and which non-linearities, a network needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse._arithmetic.axes import channel_axis, channel_count
from keras_sparse._arithmetic.between import Between
from keras_sparse._arithmetic.straight_through import straight_through
from keras_sparse._mechanism.penalty import PenaltyOfLayer


@keras.saving.register_keras_serializable(package="keras_sparse")
class TriStateReLU(keras.layers.Layer):
    """An activation that is off, ReLU, or identity, as the loss learns.

    Each unit (channel) has a width gate w and the layer one depth gate d, in
    [0, 1], which act as w' = 1[w >= 1/2] and d' = 1[d >= 1/2]:
    y = w' x for x >= 0 and w' d' x below. Gradients of the gates pass
    straight through the steps. The loss pays, for each such layer,

        bimodal sum w (1 - w) + depth_bimodal d (1 - d)
        + price 1[d < 1/2] sum w - depth_price d

    so that gates settle at an end, units close, and depth gates open. After
    training `structured.shrink` cuts the closed units, and where a depth gate
    opened it puts the dense layers before and behind it together. Leave
    weight decay off its variables.

    Args:
        price: What an open unit costs, in units of the loss. The larger, the
            fewer units. Default: 1e-5, the paper's for MNIST; it goes with
            one over the layer's width.
        bimodal: What indecision of w costs: the speed of settling. Default:
            2.5 times `price`. Gates above (1 + price / bimodal) / 2 drift
            open and stay, those below drift shut unless the data holds them:
            with 1.2 times `price` that point is .92, and more units close.
        depth_price: What an open depth gate saves. Default: a tenth of
            `price`.
        depth_bimodal: What indecision of d costs. Default: a tenth of
            `bimodal`.
        initial: w at the start. Default: 1, all units open.
        initial_depth: d at the start. Default: 0, ReLU.
        axis: Axis of the units. Default: the last.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If a price is negative or a gate does not start in [0, 1].

    Reference:
        Srinivas and Babu, "Learning neural network architectures using
        backpropagation", BMVC 2016, equations 3 to 6.

    Example:

    >>> import keras, keras_sparse as ks
    >>> layer = ks.layers.TriStateReLU()
    >>> layer.build((None, 3))
    >>> _ = layer.width.assign([1.0, 0.7, 0.2])
    >>> x = keras.ops.array([[1.0, 2.0, 3.0]])
    >>> keras.ops.convert_to_numpy(layer(x)).tolist()
    [[1.0, 2.0, 0.0]]
    """

    def __init__(
        self,
        price: float = 1e-5,
        *,
        bimodal: float | None = None,
        depth_price: float | None = None,
        depth_bimodal: float | None = None,
        initial: float = 1.0,
        initial_depth: float = 0.0,
        axis: int = -1,
        **kwargs: Any,
    ) -> None:
        bimodal = 2.5 * price if bimodal is None else bimodal
        depth_price = price / 10 if depth_price is None else depth_price
        depth_bimodal = bimodal / 10 if depth_bimodal is None else depth_bimodal
        prices = (price, bimodal, depth_price, depth_bimodal)
        starts = (initial, initial_depth)
        if not (
            all(each >= 0 for each in prices)
            and all(0 <= start <= 1 for start in starts)
        ):
            raise ValueError(
                "Expected prices of 0 or more, and gates that start in "
                f"[0, 1]. Received: price, bimodal, depth_price, "
                f"depth_bimodal={prices}, initial, initial_depth={starts}."
            )
        super().__init__(**kwargs)
        self.price, self.bimodal = price, bimodal
        self.depth_price, self.depth_bimodal = depth_price, depth_bimodal
        self.initial, self.initial_depth = initial, initial_depth
        self.axis = axis
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        units = channel_count(self.axis, input_shape, self.name)
        self.width, self.depth = (
            self.add_weight(
                name=name,
                shape=shape,
                initializer=keras.initializers.Constant(start),
                constraint=Between(0.0, 1.0),
                dtype="float32",
                autocast=False,
            )
            for name, shape, start in (
                ("width", (units,), self.initial),
                ("depth", (), self.initial_depth),
            )
        )
        self.width.regularizer = PenaltyOfLayer(self.penalty)

    def penalty(self) -> Any:
        """What the loss pays for the gates, a scalar."""
        w, d = map(_surgery.read, (self.width, self.depth))
        relu = ops.cast(d < 0.5, "float32")
        return (
            ops.sum(w * (self.bimodal * (1 - w) + self.price * relu))
            + self.depth_bimodal * d * (1 - d)
            - self.depth_price * d
        )

    def channel_scale(self) -> NDArray[np.float32]:
        """1 for each open unit, 0 for the others."""
        w = ops.convert_to_numpy(self.width)
        return (w >= 0.5).astype("float32")

    def channel_activation(self) -> Callable[[Any], Any]:
        """What open units are activated by: ReLU or the identity."""
        is_identity = float(ops.convert_to_numpy(self.depth)) >= 0.5
        activations = keras.activations
        return activations.linear if is_identity else activations.relu

    def call(self, inputs: Any) -> Any:
        rank = len(inputs.shape)
        along = [1] * rank
        along[channel_axis(self.axis, inputs.shape)] = -1
        w, d = (
            straight_through(ops.cast(gate >= 0.5, "float32"), (gate, 1.0))
            for gate in map(_surgery.read, (self.width, self.depth))
        )
        w = ops.cast(ops.reshape(w, along), inputs.dtype)
        d = ops.cast(d, inputs.dtype)
        return w * ops.where(inputs >= 0, inputs, d * inputs)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "price": self.price,
            "bimodal": self.bimodal,
            "depth_price": self.depth_price,
            "depth_bimodal": self.depth_bimodal,
            "initial": self.initial,
            "initial_depth": self.initial_depth,
            "axis": self.axis,
        }
