"""The truncated log-normal: noise on [e^-20, 1] that a channel is scaled by.

log theta is normal with `mu` and exp(`log_sigma`), cut to [LOW, HIGH]; the
prior is uniform there. A difference of normal distribution functions loses
all its digits in float32 once both lie in one tail, so it is written with
erfcx(x) = exp(x^2) erfc(x), and exp(-x^2 / 2) is cancelled on paper.

Reference: Neklyudov, Molchanov, Ashukha and Vetrov, "Structured Bayesian
pruning via log-normal multiplicative noise", 2017.
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

LOW, HIGH = -20.0, 0.0
# Quantiles of the normal that are not drawn from: float32 ends there.
_RAREST = 1e-5
# Below this a squared coefficient of variation is rounding in float32.
_NOISELESS = 1e-7
# Chebyshev interpolation of log(erfcx(x) / t), t = 2 / (2 + x), as a
# polynomial in 2 t - 1; off by less than 2e-11 for all x >= 0.
_LOG_ERFCX = (
    -6.717940840567e-01,
    6.726432239715e-01,
    4.734330710738e-02,
    -4.689561002952e-02,
    -9.872702151285e-03,
    8.824939035396e-03,
    1.759113875820e-03,
    -2.345852780952e-03,
    -1.473944208546e-04,
    6.740253124309e-04,
    -8.983674611373e-05,
    -1.756718349904e-04,
    6.381873186623e-05,
    3.474789650447e-05,
    -2.167082325709e-05,
    -3.739831979169e-06,
    3.386753965432e-06,
)


def kl(mu: Any, log_sigma: Any) -> Any:
    """KL divergence from the log-uniform prior, in nats.

    Args:
        mu: Mean of the normal before truncation, in [-20, 5].
        log_sigma: Log of its deviation, in [-20, 5]. Same shape.

    Returns:
        A tensor of that shape; 0 where the noise is the prior.

    Example:

    >>> from keras_sparse import truncated_log_normal
    >>> round(float(truncated_log_normal.kl(0.0, -5.0)), 4)
    7.2699
    """
    mu, log_sigma = _tensors(mu, log_sigma)
    alpha, beta = _bounds(mu, log_sigma)
    log_mass = _log_scaled_mass(mu, log_sigma, 0)
    tail = ops.minimum(beta, 0.0)
    minus_log_z = 0.5 * ops.square(tail) - log_mass
    ends = alpha * ops.exp(_log_density(alpha, tail, log_mass))
    ends = ends - beta * ops.exp(_log_density(beta, tail, log_mass))
    entropy_of_normal = 0.5 * math.log(2 * math.pi * math.e)
    constant = math.log(HIGH - LOW) - entropy_of_normal
    return constant - log_sigma + minus_log_z - 0.5 * ends


def mean(mu: Any, log_sigma: Any) -> Any:
    """Expectation of theta; arguments as for `kl`."""
    mu, log_sigma = _tensors(mu, log_sigma)
    return ops.exp(_log_moment(mu, log_sigma, 1))


def signal_to_noise(mu: Any, log_sigma: Any) -> Any:
    """Mean of theta over its deviation; arguments as for `kl`.

    In float32 values above 100 are right to a few percent only, and none
    exceeds 3,200.
    """
    mu, log_sigma = _tensors(mu, log_sigma)
    first = _log_moment(mu, log_sigma, 1)
    second = _log_moment(mu, log_sigma, 2)
    squared_variation = ops.expm1(second - 2 * first)
    return ops.rsqrt(ops.maximum(squared_variation, _NOISELESS))


def evidence_gain(mu: Any, log_sigma: Any) -> Any:
    """What the evidence gains if the prior shrinks to theta = e^-20, in nats.

    The ratio of the posterior's density there to the prior's (Savage and
    Dickey); arguments as for `kl`.

    Reference: Wright et al., "BMRS: Bayesian model reduction for structured
    pruning", 2024. There the reduced prior is a normal of deviation 1e-6
    around log theta = -20, to which this is the limit.
    """
    mu, log_sigma = _tensors(mu, log_sigma)
    alpha, beta = _bounds(mu, log_sigma)
    log_mass = _log_scaled_mass(mu, log_sigma, 0)
    density = _log_density(alpha, ops.minimum(beta, 0.0), log_mass)
    return math.log(HIGH - LOW) - log_sigma + density


def sample(mu: Any, log_sigma: Any, uniform: Any) -> Any:
    """Values of theta at given quantiles, with gradients for mu and sigma.

    Args:
        mu: As for `kl`.
        log_sigma: As for `kl`.
        uniform: Numbers in [0, 1], of a shape that the others broadcast to.

    Returns:
        A tensor of the shape of `uniform`, in [e^-20, 1].
    """
    mu, log_sigma = _tensors(mu, log_sigma)
    alpha, beta = _bounds(mu, log_sigma)
    below, above = _distribution(alpha), _distribution(beta)
    quantile = below + (above - below) * uniform
    quantile = ops.clip(quantile, _RAREST, 1 - _RAREST)
    normal = math.sqrt(2) * ops.erfinv(2 * quantile - 1)
    return ops.exp(ops.clip(mu + ops.exp(log_sigma) * normal, LOW, HIGH))


def _tensors(mu: Any, log_sigma: Any) -> tuple[Any, Any]:
    return ops.convert_to_tensor(mu), ops.convert_to_tensor(log_sigma)


def _bounds(mu: Any, log_sigma: Any) -> tuple[Any, Any]:
    """The ends of the interval, in deviations from mu."""
    return (
        (LOW - mu) * ops.exp(-log_sigma),
        (HIGH - mu) * ops.exp(-log_sigma),
    )


def _distribution(x: Any) -> Any:
    return 0.5 * (1 + ops.erf(x / math.sqrt(2)))


def _log_density(x: Any, tail: Any, log_mass: Any) -> Any:
    """log [phi(x) / Z], with exp(tail^2 / 2) taken out of Z."""
    exponent = 0.5 * (ops.square(tail) - ops.square(x)) - log_mass
    return exponent - 0.5 * math.log(2 * math.pi)


def _log_moment(mu: Any, log_sigma: Any, k: int) -> Any:
    """Log of E theta^k."""
    _, beta = _bounds(mu, log_sigma)
    sigma = ops.exp(log_sigma)
    inside = k * mu + 0.5 * k * k * ops.square(sigma)
    outside = k * HIGH - 0.5 * ops.square(ops.maximum(beta, 0.0))
    exponent = ops.where(beta > k * sigma, inside, outside)
    masses = _log_scaled_mass(mu, log_sigma, k)
    return exponent + masses - _log_scaled_mass(mu, log_sigma, 0)


def _log_scaled_mass(mu: Any, log_sigma: Any, k: int) -> Any:
    """log [Phi(h) - Phi(l)], h and l the ends less k sigma, + min(h, 0)^2 / 2.

    l is never positive, as mu is at least LOW. Each branch gets arguments
    that are harmless where the other one counts.
    """
    alpha, beta = _bounds(mu, log_sigma)
    sigma = ops.exp(log_sigma)
    high, low = beta - k * sigma, alpha - k * sigma
    root = math.sqrt(0.5)
    around = ops.erf(root * ops.maximum(high, 0.0)) - ops.erf(root * low)
    # (l^2 - h^2) / 2; at least .009 wherever h is not positive.
    middle = 0.5 * (LOW + HIGH)
    gap = (HIGH - LOW) * (k + (mu - middle) * ops.exp(-2 * log_sigma))
    gap = ops.maximum(gap, 1e-3)
    beyond = _erfcx(-root * ops.minimum(high, 0.0)) - _erfcx(
        -root * ops.minimum(low, 0.0)
    ) * ops.exp(-gap)
    return ops.log(0.5 * ops.where(high > 0, around, beyond))


def _erfcx(x: Any) -> Any:
    """exp(x^2) erfc(x) for x >= 0."""
    t = 2 / (2 + x)
    s = 2 * t - 1
    polynomial = ops.zeros_like(s)
    for coefficient in reversed(_LOG_ERFCX):
        polynomial = polynomial * s + coefficient
    return t * ops.exp(polynomial)
