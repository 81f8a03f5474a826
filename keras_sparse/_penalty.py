"""Terms of the training loss that belong to a weight, not to a batch.

`add_loss` in `call` would count such a term once for every use of a shared
layer. It hangs on a variable instead, as a regularizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_sparse import _surgery
from keras_sparse.parametrizations.parametrization import Parametrization


class PenaltyOfLayer(keras.regularizers.Regularizer):
    """Asks a layer what it pays.

    Args:
        pay: Method of the layer that returns a scalar.
    """

    def __init__(self, pay: Callable[[], Any]) -> None:
        self.pay = pay

    def __call__(self, variable: Any) -> Any:
        return self.pay()


class PenaltyOfWeight(keras.regularizers.Regularizer):
    """Asks a parametrization for the penalty of its raw weight.

    Args:
        parametrization: The parametrization.
        raw: The weight.
        also: The regularizer that the variable has already, if any.
    """

    def __init__(
        self,
        parametrization: Parametrization,
        raw: keras.Variable,
        also: Callable[[Any], Any] | None,
    ) -> None:
        self.parametrization = parametrization
        self.raw = raw
        self.also = also

    def __call__(self, variable: Any) -> Any:
        penalty = self.parametrization.penalty(_surgery.read(self.raw))
        total = keras.ops.zeros((), "float32") if penalty is None else penalty
        return total if self.also is None else total + self.also(variable)


def hang_penalty(parametrization: Parametrization, raw: keras.Variable) -> None:
    """Puts the penalty into `model.losses`, once."""
    variables = parametrization.trainable_variables
    if (
        variables
        and type(parametrization).penalty is not Parametrization.penalty
    ):
        carrier = variables[0]
        carrier.regularizer = PenaltyOfWeight(
            parametrization, raw, carrier.regularizer
        )
