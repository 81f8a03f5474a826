"""A learned gate, open or shut, for each weight."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sparse import _surgery, patterns
from keras_sparse._arithmetic.between import Between
from keras_sparse._arithmetic.straight_through import straight_through
from keras_sparse.parametrizations.parametrization import Parametrization

SHUT = 0.49  # Of a pretrained weight's gate: it opens at one small step.


@keras.saving.register_keras_serializable(package="keras_sparse")
class WeightGate(Parametrization):
    """`w * 1[g >= 1/2]` with a gate g in [0, 1] for each weight.

    The loss pays `bimodal * sum g (1 - g) + price * sum g`: the first term
    drives gates to the ends, the second shuts them. The gradient of a gate
    passes straight through the step; that of a weight is masked. Gates take
    as much memory as weights, and an optimizer's slots for both.

    Args:
        price: Cost of an open gate, in units of the loss. The higher, the
            sparser.
        bimodal: Cost of indecision, in the same units.
        initial: Value of all gates at the start, in [0, 1]. Defaults to 1.
        keep: To start from a trained model: the share of the largest weights,
            in (0, 1], whose gates start at 1; the others' start at .49.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Srinivas, Subramanya and Babu, "Training sparse neural networks",
        CVPR workshops 2017, equations 4 to 6.

    Example:

    >>> import keras, keras_sparse as ks
    >>> gate = ks.WeightGate(price=1e-5)
    >>> gate.build((2,))
    >>> _ = gate.gates.assign([0.4, 0.6])
    >>> keras.ops.convert_to_numpy(gate(keras.ops.ones((2,)))).tolist()
    [0.0, 1.0]
    """

    def __init__(
        self,
        price: float = 1e-5,
        bimodal: float = 1e-6,
        *,
        initial: float = 1.0,
        keep: float | None = None,
        **kwargs: Any,
    ) -> None:
        if not (price >= 0 and bimodal >= 0 and 0 <= initial <= 1):
            raise ValueError(
                "Expected `price` and `bimodal` of 0 or more, and `initial` "
                f"in [0, 1]. Received: price={price!r}, bimodal={bimodal!r}, "
                f"initial={initial!r}."
            )
        if keep is not None and not 0 < keep <= 1:
            raise ValueError(
                "Expected `keep`, a share of the weights, in (0, 1]. "
                f"Received: keep={keep!r}. Leave it out to start all alike."
            )
        super().__init__(**kwargs)
        self.price, self.bimodal = price, bimodal
        self.initial, self.keep = initial, keep

    def build(self, shape: tuple[int, ...]) -> None:
        self.gates = self.add_weight(
            name="gates",
            shape=shape,
            initializer=keras.initializers.Constant(self.initial),
            constraint=Between(0.0, 1.0),
            dtype="float32",
            autocast=False,
        )

    def adapt(self, w: Any) -> None:
        if self.keep is not None:
            kept = patterns.unstructured(
                np.abs(_surgery.to_numpy(w)), 1 - self.keep
            )
            self.gates.assign(np.where(kept, 1.0, SHUT))

    def penalty(self, w: Any) -> Any:
        gates = ops.convert_to_tensor(self.gates)
        return ops.sum(gates * (self.price + self.bimodal * (1.0 - gates)))

    def call(self, w: Any, training: bool | None = None) -> Any:
        gates = ops.convert_to_tensor(self.gates)
        is_open = gates >= 0.5
        value = ops.where(is_open, w, ops.zeros_like(w))
        return straight_through(value, (w, is_open), (gates, w))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "price": self.price,
            "bimodal": self.bimodal,
            "initial": self.initial,
            "keep": self.keep,
        }
