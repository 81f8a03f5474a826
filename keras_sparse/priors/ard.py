"""Automatic relevance determination by empirical Bayes."""

from __future__ import annotations

from typing import Any

import keras

from keras_sparse._arithmetic.axes import Axis, checked_axis
from keras_sparse.distributions import families, tfp
from keras_sparse.priors.prior import Prior, reduced_axes


@keras.saving.register_keras_serializable(package="keras_sparse")
class ARD(Prior):
    """Normal(0, 1 / tau), with the tau that fits the posterior best.

    For each weight tau = 1 / (mean^2 + sigma^2), which leaves a penalty of
    0.5 log(1 + 1 / alpha): a proper prior for every tau, which the log-uniform
    one is not. Under a Gamma(a, b) hyper-prior, tau is its posterior mode and
    the penalty is up to a constant the negative logarithm of both.

    Args:
        concentration: a, at least 1.
        rate: b, in units of squared weights, not negative. The defaults, 1
            and 0, are no hyper-prior.
        **kwargs: See `Prior`.

    Reference:
        Kharitonov, Molchanov and Vetrov, "Variational dropout via empirical
        Bayes", 2018.

    Example:

    >>> import keras, keras_sparse as ks, math
    >>> dense = keras.layers.Dense(1, kernel_initializer="ones")
    >>> dense.build((None, 1))
    >>> gaussian = ks.Gaussian(ks.priors.ARD(), log_sigma2=math.log(3.0))
    >>> [(_, _, weight)] = ks.parametrized(ks.sparsify(dense, gaussian))
    >>> round(float(weight.nats()), 4)  # log(1 + 1 / 3) / 2
    0.1438
    """

    def __init__(
        self, *, concentration: float = 1.0, rate: float = 0.0, **kwargs: Any
    ) -> None:
        if concentration < 1 or rate < 0:
            raise ValueError(
                "Expected a concentration of at least 1 and a rate that is "
                f"not negative. Received: {concentration} and {rate}."
            )
        super().__init__(**kwargs)
        self.concentration = concentration
        self.rate = rate
        self._group: tuple[int, ...] = ()

    @property
    def has_hyper_prior(self) -> bool:
        return self.concentration != 1.0 or self.rate != 0.0

    def precision(self, posterior: Any) -> Any:
        """tau, in a shape that the weight's broadcasts with."""
        moment = keras.ops.square(posterior.loc)
        moment += keras.ops.square(posterior.scale)
        size = 1.0
        for axis in self._group:
            size *= moment.shape[axis]
        sums = keras.ops.sum(moment, axis=self._group, keepdims=True)
        numerator = size + 2.0 * (self.concentration - 1.0)
        return numerator / ((sums if self._group else moment) + 2.0 * self.rate)

    def distribution(self, posterior: Any) -> Any:
        scale = keras.ops.rsqrt(self.precision(posterior))
        simple = not self._group and not self.has_hyper_prior
        normal = families().Relevance if simple else tfp().distributions.Normal
        return normal(keras.ops.zeros_like(scale), scale)

    def kl(self, posterior: Any, normal: Any) -> Any:
        divergence = super().kl(posterior, normal)
        if not self.has_hyper_prior:
            return divergence
        tau = self.precision(posterior)
        log_mode = (self.concentration - 1.0) * keras.ops.log(tau)
        return divergence - keras.ops.sum(log_mode - self.rate * tau)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "concentration": self.concentration,
            "rate": self.rate,
        }


@keras.saving.register_keras_serializable(package="keras_sparse")
class GroupARD(ARD):
    """One tau for all weights of a neuron or filter, so that it goes whole.

    Log alpha of a group is the least of its weights': it goes when all of
    them are noise. `choose_threshold` finds a lower threshold than the
    default where fewer groups do.

    Args:
        axis: What numbers the groups: `"outputs"` (neurons and filters),
            `"inputs"`, or axes of the weight, which then goes by these.
        **kwargs: See `ARD`.

    Reference:
        Kharitonov, Molchanov and Vetrov, "Variational dropout via empirical
        Bayes", 2018. A group of K weights pays
        0.5 [K log(sum(mean^2 + sigma^2) / K) - sum(log sigma^2)].

    Example:

    >>> import keras, keras_sparse as ks
    >>> dense = keras.layers.Dense(3)
    >>> dense.build((None, 4))
    >>> gaussian = ks.Gaussian(ks.priors.GroupARD())
    >>> [(_, _, weight)] = ks.parametrized(ks.sparsify(dense, gaussian))
    >>> weight.prior.batch_shape  # a tau for each of the three units
    TensorShape([1, 3])
    """

    def __init__(self, axis: Axis = "outputs", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = checked_axis(axis)

    def build(
        self,
        shape: tuple[int, ...],
        inputs: tuple[int, ...] = (-2,),
        outputs: tuple[int, ...] = (-1,),
    ) -> None:
        self._group = reduced_axes(self.axis, len(shape), inputs, outputs)

    def log_alpha(self, mean: Any, log_sigma2: Any) -> Any:
        return least_of_group(super().log_alpha(mean, log_sigma2), self._group)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def least_of_group(log_alpha: Any, group: tuple[int, ...]) -> Any:
    """The least log alpha of a group, for each of its weights.

    A group is noise when all of its weights are. The sum of its variances
    over that of its squared means says less: noise of the weights that it
    does not need hides the one that it lives on.
    """
    least = keras.ops.min(log_alpha, axis=group, keepdims=True)
    return keras.ops.broadcast_to(least, log_alpha.shape)
