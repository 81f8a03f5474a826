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
        return _as_loss(self.pay())


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
        total = _as_loss(0.0 if penalty is None else penalty)
        if self.also is None:
            return total
        return total + _as_loss(self.also(variable))


def hang_penalty(parametrization: Parametrization, raw: keras.Variable) -> None:
    """Puts the penalty into `model.losses`, once."""
    # Those of a frozen one too: Keras asks no variable while it is frozen.
    variables = parametrization.trainable_variables or [
        variable
        for layer in _surgery.all_layers(parametrization)
        for variable in _surgery.variables_to_train(layer)
    ]
    if (
        variables
        and type(parametrization).penalty is not Parametrization.penalty
    ):
        carrier = variables[0]
        carrier.regularizer = PenaltyOfWeight(
            parametrization, raw, carrier.regularizer
        )


def _as_loss(value: Any) -> Any:
    """A term in the dtype of the data's loss, which it is stacked with."""
    return keras.ops.cast(value, keras.config.floatx())
