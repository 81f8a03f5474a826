"""Weights that take one of a few shared, trained values."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sparse import _surgery
from keras_sparse._arithmetic.k_means import nearest, shared_values
from keras_sparse.parametrizations.parametrization import Parametrization


@keras.saving.register_keras_serializable(package="keras_sparse")
class Clustered(Parametrization):
    """Each weight is zero or one of a few shared values, which are trained.

    When it is attached, k-means finds the values and which weight has which;
    zeros stay zeros. In training the values move, each by the sum of its
    weights' gradients, and nothing else does: the weights are frozen until
    `strip`. `keras_sparse.cluster` does the same without training.

    Args:
        clusters: How many values that are not zero, from 2 to 65535.
        per_channel: Whether the values are in units of the largest weight of
            each output channel when it was attached, so that weights rounded
            to int8 channel by channel have as few values. Two of the values
            are then -1 and 1 and are not trained.

    Raises:
        ValueError: If the number is out of range.

    Reference:
        Han, Mao and Dally, "Deep compression", ICLR 2016, section 3.

    Example:

    >>> import keras, numpy as np, keras_sparse as ks
    >>> layer = keras.layers.Dense(1)
    >>> layer.build((None, 5))
    >>> _ = layer.kernel.assign([[0.0], [1.0], [2.0], [10.0], [12.0]])
    >>> layer = ks.sparsify(layer, ks.Clustered(2), verbose=False)
    >>> np.ravel(ks.strip(layer).kernel).tolist()
    [0.0, 1.5, 1.5, 11.0, 11.0]
    """

    freezes_weight = True

    def __init__(
        self, clusters: int = 16, *, per_channel: bool = False, **kwargs: Any
    ) -> None:
        if not (isinstance(clusters, int) and 2 <= clusters <= 65535):
            raise ValueError(
                "Expected a whole number of clusters from 2 to 65535. "
                f"Received: clusters={clusters!r}."
            )
        super().__init__(**kwargs)
        self.clusters, self.per_channel = clusters, per_channel

    def build(self, shape: tuple[int, ...]) -> None:
        self.axes = tuple(
            axis
            for axis in range(len(shape))
            if axis - len(shape) not in self.outputs
        )
        channels = tuple(
            1 if axis in self.axes or not self.per_channel else size
            for axis, size in enumerate(shape)
        )
        self.values = self.add_weight(
            name="values",
            shape=(self.clusters,),
            initializer="zeros",
            dtype="float32",
        )
        self.scale = self.add_weight(
            name="scale",
            shape=channels,
            initializer="ones",
            dtype="float32",
            trainable=False,
        )
        # 0 for zero, otherwise 1 + the place of the value.
        self.places = self.add_weight(
            name="places",
            shape=shape,
            initializer="zeros",
            dtype="uint8" if self.clusters < 256 else "int32",
            trainable=False,
        )

    def adapt(self, w: Any) -> None:
        w = _surgery.to_numpy(w)
        if self.per_channel:
            scale = np.abs(w).max(self.axes, keepdims=True)
            self.scale.assign(np.where(scale > 0, scale, 1.0))
            w = w / _surgery.to_numpy(self.scale.value)
        held = w[w != 0]
        if not held.size:
            return
        if self.per_channel:
            held = np.append(held, [-1.0, 1.0])
        values = shared_values(held, self.clusters, pinned=self.per_channel)
        spare = np.repeat(values[:1], self.clusters - values.size)
        values = np.concatenate([spare, values])
        places = np.where(w != 0, 1 + nearest(w, values), 0)
        self.values.assign(values)
        self.places.assign(places.astype(self.places.dtype))

    def call(self, w: Any, training: bool | None = None) -> Any:
        zero, one = ops.zeros((1,), "float32"), ops.ones((1,), "float32")
        values = ops.convert_to_tensor(self.values)
        if self.per_channel:
            inner = ops.clip(values[1:-1], -1.0, 1.0)
            values = ops.concatenate([-one, inner, one])
        values = ops.concatenate([zero, values])
        shared = ops.take(values, ops.cast(self.places, "int32"))
        return ops.cast(shared * self.scale, w.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "clusters": self.clusters,
            "per_channel": self.per_channel,
        }
