"""Group priors with an uncertain scale: Bayesian compression.

A weight is w = z v: v has a standard normal prior, and z, shared by a neuron,
filter or input, a prior that favours zero. The raw weight is the mean of v,
and z starts at 1, so that a pretrained weight stays what it is.

Reference: Louizos, Ullrich and Welling, "Bayesian compression for deep
learning", 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from keras_sparse._arithmetic.axes import Axis, checked_axis
from keras_sparse.distributions import fitted_kl, tfp
from keras_sparse.priors.ard import least_of_group
from keras_sparse.priors.prior import Prior, log_square, reduced_axes

_START = -9.0  # logarithm of the first variances of the scales


class GroupScale(Prior):
    """What the two have in common.

    Args:
        axis: What numbers the groups: `"outputs"` (neurons and filters),
            `"inputs"`, or axes of the weight.
        **kwargs: See `Prior`.
    """

    scales = True

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
        self._group_shape = tuple(
            1 if axis in self._group else size
            for axis, size in enumerate(shape)
        )

    def distribution(self, posterior: Any) -> Any:
        zeros = keras.ops.zeros_like(posterior.loc)
        return tfp().distributions.Normal(zeros, keras.ops.ones_like(zeros))

    def kl(self, posterior: Any, normal: Callable[..., Any]) -> Any:
        return super().kl(posterior, normal) + self.kl_of_scale()

    def kl_of_scale(self) -> Any:
        """Divergence of the scales from their prior, summed, in nats."""
        raise NotImplementedError

    def _variable(self, name: str, shape: tuple[int, ...], value: float) -> Any:
        initializer = keras.initializers.Constant(value)
        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


@keras.saving.register_keras_serializable(package="keras_sparse")
class NormalJeffreys(GroupScale):
    """Scales with p(z) ~ 1 / |z| and a normal posterior.

    Log alpha of a weight is that of its scale, log(variance / mean^2).

    Args:
        axis: What numbers the groups: `"outputs"` (neurons and filters),
            `"inputs"`, or axes of the weight.
        **kwargs: See `Prior`.

    Reference:
        Louizos et al., 2017, section 4.1 (BC-GNJ).

    Example:

    >>> import keras, keras_sparse as ks
    >>> dense = keras.layers.Dense(3)
    >>> dense.build((None, 4))
    >>> gaussian = ks.Gaussian(ks.priors.NormalJeffreys())
    >>> [(_, _, weight)] = ks.parametrized(ks.sparsify(dense, gaussian))
    >>> print(weight.prior_of_weight.z.numpy().tolist())
    [[1.0, 1.0, 1.0]]
    """

    def build(self, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> None:
        super().build(shape, *args, **kwargs)
        self.z = self._variable("z", self._group_shape, 1.0)
        self.z_log_sigma2 = self._variable(
            "z_log_sigma2", self._group_shape, _START
        )

    def kl_of_scale(self) -> Any:
        deviation = keras.ops.exp(0.5 * _tensor(self.z_log_sigma2))
        return keras.ops.sum(fitted_kl(_tensor(self.z) / deviation))

    def scale(self, normal: Callable[..., Any] | None) -> Any:
        z = _tensor(self.z)
        if normal is None:
            return z
        deviation = keras.ops.exp(0.5 * _tensor(self.z_log_sigma2))
        return z + deviation * normal(self._group_shape)

    def moments_of_scale(self) -> tuple[Any, Any]:
        return _tensor(self.z), keras.ops.exp(_tensor(self.z_log_sigma2))

    def log_alpha(self, mean: Any, log_sigma2: Any) -> Any:
        log_alpha = _tensor(self.z_log_sigma2) - log_square(_tensor(self.z))
        return keras.ops.broadcast_to(log_alpha, mean.shape)


@keras.saving.register_keras_serializable(package="keras_sparse")
class HalfCauchy(GroupScale):
    """Horseshoe: half-Cauchy scales, one for each group and one over all.

    z^2 = a b a_g b_g with a ~ Gamma(1/2, tau^2), a_g ~ Gamma(1/2, 1) and
    b, b_g ~ inverse Gamma(1/2, 1), each with a log-normal posterior. Log
    alpha of a group is the least of its weights', log(variance / mean^2) of
    w: it goes when all of them are noise.

    Args:
        axis: What numbers the groups: `"outputs"` (neurons and filters),
            `"inputs"`, or axes of the weight.
        tau: Scale of the half-Cauchy over all groups, positive.
        **kwargs: See `Prior`.

    Reference:
        Louizos et al., 2017, section 4.2 (BC-GHS).

    Example:

    >>> import keras, keras_sparse as ks
    >>> dense = keras.layers.Dense(3)
    >>> dense.build((None, 4))
    >>> gaussian = ks.Gaussian(ks.priors.HalfCauchy(axis="inputs"))
    >>> [(_, _, weight)] = ks.parametrized(ks.sparsify(dense, gaussian))
    >>> sorted(weight.prior_of_weight.mu)
    ['a', 'a_g', 'b', 'b_g']
    """

    def __init__(
        self, axis: Axis = "outputs", *, tau: float = 1e-5, **kwargs: Any
    ) -> None:
        if not tau > 0:
            raise ValueError(f"Expected a positive tau. Received: {tau!r}.")
        super().__init__(axis, **kwargs)
        self.tau = tau

    def build(self, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> None:
        super().build(shape, *args, **kwargs)
        # Medians whose product is 1, in the tail where it costs least.
        start = {"a": self.tau**2, "b": 1.0, "a_g": 1.0, "b_g": self.tau**-2}
        self.mu, self.log_sigma2 = {}, {}
        for name, median in start.items():
            shape = self._group_shape if name.endswith("_g") else ()
            self.mu[name] = self._variable(
                f"mu_{name}", shape, math.log(median)
            )
            self.log_sigma2[name] = self._variable(
                f"log_sigma2_{name}", shape, _START
            )

    def kl_of_scale(self) -> Any:
        gammas = {"a": self.tau**2, "a_g": 1.0}
        total = 0.0
        for name in self.mu:
            mu = _tensor(self.mu[name])
            log_sigma2 = _tensor(self.log_sigma2[name])
            if name in gammas:
                kl = log_normal_to_gamma(mu, log_sigma2, 0.5, gammas[name])
            else:
                kl = log_normal_to_gamma(-mu, log_sigma2, 0.5, 1.0)
            total += keras.ops.sum(kl)
        return total

    def _moments_of_log(self) -> tuple[Any, Any]:
        """Mean and variance of log z, for each group."""
        mean = 0.5 * sum(_tensor(mu) for mu in self.mu.values())
        variance = 0.25 * sum(
            keras.ops.exp(_tensor(each)) for each in self.log_sigma2.values()
        )
        return mean, variance

    def scale(self, normal: Callable[..., Any] | None) -> Any:
        mean, variance = self._moments_of_log()
        if normal is None:
            return keras.ops.exp(mean + 0.5 * variance)
        # The factors that all groups share are drawn once for all of them.
        shared = self._deviation_of_log("a", "b") * normal(())
        own = self._deviation_of_log("a_g", "b_g") * normal(self._group_shape)
        return keras.ops.exp(mean + own + shared)

    def moments_of_scale(self) -> tuple[Any, Any]:
        mean, variance = self._moments_of_log()
        expected = keras.ops.exp(mean + 0.5 * variance)
        return expected, keras.ops.square(expected) * keras.ops.expm1(variance)

    def _deviation_of_log(self, *names: str) -> Any:
        variance = sum(
            keras.ops.exp(_tensor(self.log_sigma2[name])) for name in names
        )
        return 0.5 * keras.ops.sqrt(variance)

    def log_alpha(self, mean: Any, log_sigma2: Any) -> Any:
        _, variance = self._moments_of_log()
        of_v = keras.ops.exp(log_sigma2)
        of_z = keras.ops.expm1(variance)  # relative to its mean's square
        total = of_v + of_z * (of_v + keras.ops.square(mean))
        log_alpha = keras.ops.log(total) - log_square(mean)
        return least_of_group(log_alpha, self._group)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tau": self.tau}


def log_normal_to_gamma(
    mu: Any, log_sigma2: Any, k: float, theta: float
) -> Any:
    """KL(LogNormal(mu, sigma^2) || Gamma of shape k and scale theta).

    That to an inverse Gamma of scale 1 / theta is the same at -mu.
    """
    mean = keras.ops.exp(mu + 0.5 * keras.ops.exp(log_sigma2))
    entropy = 0.5 * (log_sigma2 + 1.0 + math.log(2.0 * math.pi))
    constant = k * math.log(theta) + math.lgamma(k)
    return constant - k * mu + mean / theta - entropy


def _tensor(variable: keras.Variable) -> Any:
    return keras.ops.convert_to_tensor(variable)
