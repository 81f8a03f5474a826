"""TensorFlow Probability on the running backend, and what it lacks.

TFP has a build for TensorFlow and one for JAX. A distribution made once from
a Keras variable would keep the value it had then, so they are made anew at
each use.
"""

from __future__ import annotations

import functools
import math
import types
from typing import Any

import keras
import numpy as np

# Sigmoid fit of the KL divergence to the log-uniform prior, per weight.
# Molchanov et al., 2017, equation 14.
K1, K2, K3 = 0.63576, 1.87320, 1.48695
# Under it the square of a float32 ratio is no number to take a logarithm of.
TINY = 1e-30


@functools.cache
def tfp() -> types.ModuleType:
    """TensorFlow Probability for the running backend.

    Raises:
        ImportError: On torch, for which there is none, and where the
            installed version does not go with the installed JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow_probability

        return tensorflow_probability
    if backend == "jax":
        try:
            from tensorflow_probability.substrates import jax as substrate

            substrate.distributions  # noqa: B018 - loads it, or fails
        except (ImportError, AttributeError) as error:
            import jax

            raise ImportError(
                "Expected a tensorflow-probability that goes with JAX "
                f"{jax.__version__}. Received one that fails to import: "
                f"{error}. Version 0.25 needs jax 0.6.2 or older; for a newer "
                "JAX install `tfp-nightly` in its place."
            ) from error
        return substrate
    raise ImportError(
        "Expected the TensorFlow or the JAX backend for weights with a "
        f"distribution. Received: {backend!r}, for which tensorflow-"
        "probability has no build. Set KERAS_BACKEND, or choose another "
        "parametrization."
    )


@functools.cache
def families() -> types.SimpleNamespace:
    """The distributions that TFP lacks, with their KL divergences.

    `LogUniform`: the improper p(w) ~ 1 / |w|. `Relevance`: Normal(0, 1 / tau)
    with the tau that fits the posterior best, weight by weight.
    """
    tfd = tfp().distributions

    class LogUniform(tfd.Distribution):  # type: ignore[name-defined,misc]
        """The improper density 1 / |w|; `exact` says how its KL is found."""

        def __init__(
            self, exact: bool = False, name: str = "LogUniform"
        ) -> None:
            self.exact = exact
            super().__init__(
                dtype="float32",
                reparameterization_type=tfd.NOT_REPARAMETERIZED,
                validate_args=False,
                allow_nan_stats=True,
                parameters={"exact": exact, "name": name},
                name=name,
            )

        @classmethod
        def _parameter_properties(
            cls, dtype: Any, num_classes: Any = None
        ) -> dict[str, Any]:
            return {}

        def _event_shape(self) -> tuple[int, ...]:
            return ()

        def _log_prob(self, value: Any) -> Any:
            return -keras.ops.log(keras.ops.abs(value))

    class Relevance(tfd.Normal):  # type: ignore[name-defined,misc]
        """Normal(0, E w^2) for a posterior of w."""

    @tfd.RegisterKL(tfd.Normal, LogUniform)
    def _to_log_uniform(q: Any, p: Any, name: str | None = None) -> Any:
        ratio = q.loc / q.scale
        return exact_kl(ratio) if p.exact else fitted_kl(ratio)

    @tfd.RegisterKL(tfd.Normal, Relevance)
    def _to_relevance(q: Any, p: Any, name: str | None = None) -> Any:
        return 0.5 * keras.ops.log1p(keras.ops.square(q.loc / q.scale))

    return types.SimpleNamespace(LogUniform=LogUniform, Relevance=Relevance)


def fitted_kl(ratio: Any) -> Any:
    """KL(Normal || LogUniform) by the sigmoid fit; at most 0.0094 off.

    Args:
        ratio: Mean over standard deviation, whose square is 1 / alpha.
    """
    precision = keras.ops.square(ratio)
    falling = keras.ops.sigmoid(K3 * keras.ops.log(precision + TINY) - K2)
    return 0.5 * keras.ops.log1p(precision) + K1 * falling


def exact_kl(ratio: Any) -> Any:
    """KL(Normal || LogUniform) to float32 precision, at 48 times the cost.

    With t^2 = 1 / (2 alpha) it is twice the integral from 0 to t of Dawson's
    function, D(x) = 0.5 integral of exp(-y^2 / 4) sin(x y) over y > 0. The
    integral over y is a Gauss-Legendre sum; from t = 6 on the asymptotic
    series takes its place.
    """
    t = ratio / math.sqrt(2.0)
    large = keras.ops.abs(t) > 6.0
    near = keras.ops.where(large, 1.0, t)[..., None]
    nodes, weights = np.polynomial.legendre.leggauss(48)
    y = (4.5 * (nodes + 1.0)).astype("float32")
    kernel = (4.5 * weights * np.exp(-y * y / 4) / y).astype("float32")
    waves = 2.0 * keras.ops.square(keras.ops.sin(0.5 * near * y))
    integral = keras.ops.sum(waves * kernel, axis=-1)
    far = keras.ops.square(keras.ops.where(large, t, 6.0))
    series = 0.5 * (np.euler_gamma + keras.ops.log(4.0 * far))
    series -= (0.25 + (3.0 + 5.0 / far) / (16.0 * far)) / far
    return keras.ops.where(large, series, integral)


def kl_divergence(posterior: Any, prior: Any, noise: Any) -> Any:
    """KL(posterior || prior), elementwise.

    Args:
        posterior: A `tfd.Normal`.
        prior: A distribution of the same backend.
        noise: Standard normal samples, shape (n,) + the posterior's, or a
            callable that draws them; for a Monte Carlo estimate where TFP
            knows no closed form.
    """
    try:
        return posterior.kl_divergence(prior)
    except NotImplementedError:
        samples = posterior.loc + posterior.scale * noise()
        ratio = posterior.log_prob(samples) - prior.log_prob(samples)
        return keras.ops.mean(ratio, axis=0)
