"""A normal prior around zero."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_sparse.distributions import tfp
from keras_sparse.priors.prior import Prior


@keras.saving.register_keras_serializable(package="keras_sparse")
class Normal(Prior):
    """Normal(0, scale^2), with one scale for the whole weight.

    It sets no weights to zero by itself; it is the prior to choose for
    predictive uncertainty.

    Args:
        scale: Standard deviation, positive; where it is learned, what it
            starts from.
        learned: Whether the scale follows the gradient of the loss.
        **kwargs: See `Prior`.

    Reference:
        Blundell et al., "Weight uncertainty in neural networks", 2015, with
        one component and, where it is learned, type-II maximum likelihood.

    Example:

    >>> import keras, keras_sparse as ks
    >>> dense = keras.layers.Dense(1, kernel_initializer="ones")
    >>> dense.build((None, 1))
    >>> gaussian = ks.Gaussian(ks.priors.Normal(1.0), log_sigma2=0.0)
    >>> [(_, _, weight)] = ks.parametrized(ks.sparsify(dense, gaussian))
    >>> round(float(weight.nats()), 4)  # mean^2 / 2
    0.5
    """

    def __init__(
        self, scale: float = 1.0, *, learned: bool = True, **kwargs: Any
    ) -> None:
        if not scale > 0:
            raise ValueError(f"Expected a positive scale. Received: {scale!r}.")
        super().__init__(**kwargs)
        self.initial_scale = scale
        self.learned = learned

    def build(
        self,
        shape: tuple[int, ...],
        inputs: tuple[int, ...] = (-2,),
        outputs: tuple[int, ...] = (-1,),
    ) -> None:
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(),
            initializer=keras.initializers.Constant(
                math.log(self.initial_scale)
            ),
            trainable=self.learned,
        )

    def distribution(self, posterior: Any) -> Any:
        scale = keras.ops.exp(keras.ops.convert_to_tensor(self.log_scale))
        return tfp().distributions.Normal(keras.ops.zeros_like(scale), scale)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scale": self.initial_scale,
            "learned": self.learned,
        }
