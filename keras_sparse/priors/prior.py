"""What is believed of a weight before the data is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_sparse._arithmetic.axes import Axis, group_axes
from keras_sparse.distributions import kl_divergence


class Prior(keras.layers.Layer):
    """The prior of a `keras_sparse.Gaussian`; subclass it for one of your own.

    A subclass overrides `distribution`, and `build` where the prior has
    variables. Where TFP knows no closed KL divergence from a normal to that
    distribution, it is estimated from samples.

    Args:
        samples: Number of samples of such an estimate.

    Example:

    >>> import keras, keras_sparse as ks
    >>> import tensorflow_probability as tfp
    >>> @keras.saving.register_keras_serializable("mine")
    ... class Laplace(ks.priors.Prior):
    ...     def distribution(self, posterior):
    ...         return tfp.distributions.Laplace(0.0, 0.1)
    >>> layer = keras.layers.Dense(3)
    >>> layer.build((None, 4))
    >>> layer = ks.sparsify(layer, ks.Gaussian(prior=Laplace(), train_size=9))
    >>> len(layer.losses)
    1
    """

    # Whether `scale` returns a factor.
    scales = False

    def __init__(self, *, samples: int = 1, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(autocast=False, **kwargs)
        self.samples = samples

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        # Of full precision, whichever layer's call reads it.
        return super().add_weight(*args, **{"autocast": False, **kwargs})

    def build(
        self,
        shape: tuple[int, ...],
        inputs: tuple[int, ...] = (-2,),
        outputs: tuple[int, ...] = (-1,),
    ) -> None:
        """Creates the prior's variables.

        Args:
            shape: Shape of the weight.
            inputs: The weight's axes that a sum runs over, from the end.
            outputs: Its axes of output channels, from the end.
        """

    def distribution(self, posterior: Any) -> Any:
        """The prior as a TFP distribution.

        Args:
            posterior: The weight's `tfd.Normal`, which empirical-Bayes priors
                depend on.
        """
        raise NotImplementedError(
            f"Expected {type(self).__name__} to say what its distribution is. "
            "Received a class without the method `distribution(posterior)`. "
            "Add it."
        )

    def kl(self, posterior: Any, normal: Callable[..., Any]) -> Any:
        """KL(posterior || prior), summed over the weight, in nats.

        Args:
            posterior: The weight's `tfd.Normal`.
            normal: From a shape to standard normal noise.
        """
        shape = (self.samples, *posterior.loc.shape)
        divergence = kl_divergence(
            posterior, self.distribution(posterior), lambda: normal(shape)
        )
        return keras.ops.sum(divergence)

    def log_alpha(self, mean: Any, log_sigma2: Any) -> Any:
        """log(variance / mean^2) of each weight: large means it is noise.

        Args:
            mean: Posterior means, float32.
            log_sigma2: Logarithm of the posterior variances.

        Returns:
            A tensor of the weight's shape.
        """
        return log_sigma2 - log_square(mean)

    def scale(self, normal: Callable[..., Any] | None) -> Any | None:
        """A factor of the weight that is uncertain itself, or `None`.

        Args:
            normal: From a shape to standard normal noise for one sample, or
                `None` for the expected value.
        """
        return None

    def moments_of_scale(self) -> tuple[Any, Any] | None:
        """Mean and variance of that factor, or `None`."""
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "samples": self.samples}


def log_square(mean: Any) -> Any:
    """log(mean^2), finite at zero."""
    return keras.ops.log(keras.ops.maximum(keras.ops.square(mean), 1e-37))


def reduced_axes(
    axis: Axis,
    rank: int,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
) -> tuple[int, ...]:
    """The axes that a group of weights runs over; see `group_axes`."""
    kept = group_axes(axis, rank, inputs, outputs)
    return tuple(each for each in range(rank) if each not in kept)
