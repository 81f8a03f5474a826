"""One learned soft threshold for each weight."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sparse.parametrizations.parametrization import Parametrization


@keras.saving.register_keras_serializable(package="keras_sparse")
class SoftThreshold(Parametrization):
    """`sign(w) max(|w| - sigmoid(s), 0)` with a learned scalar s.

    s starts far below zero, where the threshold is next to nothing, and the
    penalty `decay * s^2 / 2` draws it up until the loss holds against that:
    `decay` chooses the sparsity, and nothing says beforehand which. The
    gradient is that of the formula: pruned weights get none.

    Args:
        decay: Weight decay of s, 0 or more.
        initial: s at the start. Defaults to -10. With SGD and 100 epochs the
            paper takes -3200, from where `decay` sets the time it takes, too.
        rate: How much faster than a weight s is learned by Adam. Defaults to
            1.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Kusupati et al., "Soft threshold weight reparameterization for
        learnable sparsity" (STR), ICML 2020, equations 2 to 5.

    Example:

    >>> import keras, keras_sparse as ks
    >>> soft = ks.SoftThreshold(initial=0.0)  # The threshold is 1/2.
    >>> soft.build((3,))
    >>> w = keras.ops.convert_to_tensor([-1.0, 0.25, 2.0])
    >>> keras.ops.convert_to_numpy(soft(w)).tolist()
    [-0.5, 0.0, 1.5]
    """

    def __init__(
        self,
        decay: float = 1e-4,
        *,
        initial: float = -10.0,
        rate: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if not (decay >= 0 and rate > 0):
            raise ValueError(
                "Expected a decay of 0 or more and a positive rate. "
                f"Received: decay={decay!r}, rate={rate!r}."
            )
        super().__init__(**kwargs)
        self.decay, self.initial, self.rate = decay, initial, rate

    def build(self, shape: tuple[int, ...]) -> None:
        self.learned = self.add_weight(
            name="learned",
            shape=(),
            initializer=keras.initializers.Constant(self.initial / self.rate),
            dtype="float32",
            autocast=False,
        )

    def _s(self) -> Any:
        return self.rate * ops.convert_to_tensor(self.learned)

    def penalty(self, w: Any) -> Any:
        return 0.5 * self.decay * ops.square(self._s())

    def call(self, w: Any, training: bool | None = None) -> Any:
        rest = ops.abs(w) - ops.sigmoid(ops.cast(self._s(), w.dtype))
        kept = rest > 0.0
        zeros = ops.zeros_like(w)
        return ops.where(kept, ops.sign(w) * rest, zeros)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "decay": self.decay,
            "initial": self.initial,
            "rate": self.rate,
        }
