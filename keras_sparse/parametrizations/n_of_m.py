"""At most n of each m consecutive inputs, chosen anew at every step."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_sparse.parametrizations.parametrization import Parametrization


@keras.saving.register_keras_serializable(package="keras_sparse")
class NofM(Parametrization):
    """The n largest of each m consecutive inputs of every output.

    The groups are those of `keras_sparse.patterns.n_m`. Gradients pass
    straight through, and pruned weights decay besides, which keeps the choice
    from changing back and forth: dL/dw = g + decay (1 - mask) w.

    Args:
        n: Positive integer, the nonzeros in a group. Defaults to 2.
        m: Integer, at least `n`, the length of a group. Defaults to 4.
        decay: Weight decay of pruned weights, 0 or more, for each use of a
            shared layer and each replica anew; 0 is the plain
            straight-through estimator. Under loss scaling (mixed_float16)
            it loses its effect; take mixed_bfloat16.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Zhou et al., "Learning N:M fine-grained structured sparse neural
        networks from scratch" (SR-STE), ICLR 2021, equation 9.

    Example:

    >>> import keras, keras_sparse as ks
    >>> layer = keras.layers.Dense(1, kernel_initializer="ones")
    >>> layer.build((None, 8))
    >>> layer = ks.sparsify(layer, ks.NofM(2, 4), verbose=False)
    >>> float(layer(keras.ops.ones((1, 8)))[0, 0])
    4.0
    """

    def __init__(
        self, n: int = 2, m: int = 4, *, decay: float = 2e-4, **kwargs: Any
    ) -> None:
        if not (isinstance(n, int) and isinstance(m, int) and 1 <= n <= m):
            raise ValueError(
                "Expected whole numbers 1 <= n <= m. Received: "
                f"n={n!r}, m={m!r}. For 2 of each 4 pass n=2, m=4."
            )
        if decay < 0:
            raise ValueError(
                f"Expected a decay of 0 or more. Received: {decay!r}."
            )
        super().__init__(**kwargs)
        self.n, self.m, self.decay = n, m, decay

    def call(self, w: Any, training: bool | None = None) -> Any:
        kept = self._kept(ops.abs(w))
        if training:
            return _refined(w, ops.cast(kept, w.dtype), self.decay)
        return ops.where(kept, w, ops.zeros_like(w))

    def _kept(self, size: Any) -> Any:
        rank = len(size.shape)
        inputs, outputs = (
            [axis % rank for axis in axes if -axis <= rank]
            for axes in (self.inputs, self.outputs)
        )
        window = [a for a in range(rank) if a not in inputs + outputs]
        order = window + inputs + outputs
        arranged = ops.transpose(size, order)
        columns = math.prod(size.shape[axis] for axis in outputs)
        matrix = ops.reshape(arranged, (-1, columns))
        rows = matrix.shape[0]
        # What fills the last group up is below every magnitude.
        padding = ((0, -rows % self.m), (0, 0))
        padded = ops.pad(matrix, padding, constant_values=-1.0)
        groups = ops.reshape(padded, (-1, self.m, columns))
        kept = ops.reshape(self._largest(groups), padded.shape)[:rows]
        back = sorted(range(rank), key=order.__getitem__)
        return ops.transpose(ops.reshape(kept, arranged.shape), back)

    def _largest(self, groups: Any) -> Any:
        """Where fewer than n of a group go before; of ties the last."""
        rivals = ops.expand_dims(groups, 2)
        each = ops.expand_dims(groups, 1)
        place = ops.arange(self.m)
        later = ops.expand_dims(place, 1) > ops.expand_dims(place, 0)
        before = (rivals > each) | (
            (rivals == each) & ops.expand_dims(later, (0, 3))
        )
        return ops.sum(ops.cast(before, "int32"), axis=1) < self.n

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "n": self.n,
            "m": self.m,
            "decay": self.decay,
        }


def _refined(w: Any, mask: Any, decay: float) -> Any:
    @ops.custom_gradient
    def masked(w: Any, mask: Any) -> tuple[Any, Any]:
        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
            if upstream is None:
                (upstream,) = args
            refined = upstream + decay * (1.0 - mask) * w
            return refined, ops.zeros_like(mask)

        return w * mask, gradient

    return masked(w, mask)
