"""The log-uniform prior of sparse variational dropout."""

from __future__ import annotations

from typing import Any

import keras

from keras_sparse.distributions import families
from keras_sparse.priors.prior import Prior


@keras.saving.register_keras_serializable(package="keras_sparse")
class LogUniform(Prior):
    """p(w) ~ 1 / |w|: sparse variational dropout.

    The divergence depends on alpha = sigma^2 / mean^2 alone. The prior is
    improper and so is the posterior: take it for a penalised likelihood with
    noise that adapts, not for calibrated uncertainty (Hron, Matthews and
    Ghahramani, 2018); `ARD` is proper.

    Args:
        exact: If false (default), the divergence is the published fit
            k1 - k1 sigmoid(k2 + k3 log alpha) + 0.5 log(1 + 1 / alpha), at
            most 0.0094 nats off. If true, an integral of 48 terms a weight:
            for checks and small nets.
        **kwargs: See `Prior`.

    Reference:
        Molchanov, Ashukha and Vetrov, "Variational dropout sparsifies deep
        neural networks", 2017, equation 14.

    Example:

    >>> import keras, keras_sparse as ks
    >>> dense = keras.layers.Dense(1, kernel_initializer="ones")
    >>> dense.build((None, 1))
    >>> gaussian = ks.Gaussian(ks.priors.LogUniform(), log_sigma2=20.0)
    >>> [(_, _, weight)] = ks.parametrized(ks.sparsify(dense, gaussian))
    >>> bool(abs(weight.nats()) < 1e-3)  # all noise costs nothing
    True
    """

    def __init__(self, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.exact = exact

    def distribution(self, posterior: Any) -> Any:
        return families().LogUniform(self.exact)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "exact": self.exact}
