"""Weights with a normal posterior."""

from __future__ import annotations

from typing import Any

import keras

from keras_sparse import _surgery, priors
from keras_sparse._arithmetic.noise import NoiseSeed, is_noisy
from keras_sparse._per_example import PerExample
from keras_sparse.distributions import tfp
from keras_sparse.parametrizations.parametrization import Parametrization

SAMPLINGS = ("auto", "local", "weight")


@keras.saving.register_keras_serializable(package="keras_sparse")
class Gaussian(PerExample, Parametrization):
    """A weight w ~ Normal(raw, exp(log_sigma2)), learned with its noise.

    While training, the weight is noisy and the loss pays its divergence from
    the prior, in units of one example; `callbacks.Anneal` tells N and ramps
    it up. In evaluation and after `strip` it is the mean, and exactly zero
    where log alpha = log(sigma^2 / mean^2) is past the threshold. So at once
    after `sparsify` weights below .22 exp(log_sigma2 / 2), .0015 by default,
    count as zero.

    Weight decay would pull `log_sigma2` to 0, which is a lot of noise: tell
    the optimizer `exclude_from_weight_decay(var_names=["log_sigma2"])`. Add
    the variables that a prior has, by name: `"^z"` for
    `priors.NormalJeffreys`, `"^mu_"` for `HalfCauchy`, `"^log_scale"` for
    `Normal`.

    On a CPU `jit_compile=True` makes steps of these layers slower, not
    faster: compiled random numbers are slow there.

    Args:
        prior: One of `keras_sparse.priors`, or a subclass of `Prior` of your
            own. Default: `ARD()`.
        log_sigma2: Where the logarithm of the variance starts: small, so that
            noise does not drown what is there; -8 to -15.
        sampling: `"weight"`: one sample of the weight for each batch.
            `"local"`: noise on the layer's outputs, for each example its own,
            less variance in the gradient; for layers that are linear in the
            weight, others sample. `"auto"` (default): local where a weight
            meets each input once (`Dense`, `EinsumDense`), weight where it
            slides over many positions (all convolutions, depthwise ones
            too), where local noise costs about four times a plain step.
        threshold: Log alpha from which on a weight is zero.
        kl_weight: Factor of this weight's divergence, positive; larger values
            leave fewer weights.
        train_size: Number of training examples, N. Default: `Anneal` finds it.
        seed: Of the noise. Default: follows `keras.utils.set_random_seed`.
        **kwargs: Arguments of `Parametrization`.

    Reference:
        Molchanov, Ashukha and Vetrov, "Variational dropout sparsifies deep
        neural networks", 2017, equations 6 and 13 (additive noise); Kingma,
        Salimans and Welling, 2015 (local reparametrisation).

    Example:

    >>> import keras, keras_sparse as ks
    >>> layer = keras.layers.Dense(3)
    >>> layer.build((None, 4))
    >>> layer = ks.sparsify(layer, ks.Gaussian(ks.priors.LogUniform()))
    >>> [(_, _, weight)] = ks.parametrized(layer)
    >>> weight.posterior.quantile(0.9).shape
    TensorShape([4, 3])
    """

    def __init__(
        self,
        prior: priors.Prior | None = None,
        *,
        log_sigma2: float = -10.0,
        sampling: str = "auto",
        threshold: float = 3.0,
        kl_weight: float = 1.0,
        train_size: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if sampling not in SAMPLINGS:
            raise ValueError(
                f"Expected `sampling` to be one of {SAMPLINGS}. "
                f"Received: {sampling!r}."
            )
        if not kl_weight > 0:
            raise ValueError(
                "Expected `kl_weight` to be positive. Received: "
                f"{kl_weight!r}. To train without the divergence, let "
                "`callbacks.Anneal` keep it at zero."
            )
        tfp()  # fails early where there is none
        super().__init__(train_size=train_size, **kwargs)
        self.prior_of_weight = priors.get(prior)
        self.initial_log_sigma2 = log_sigma2
        self.sampling = sampling
        self.initial_threshold = threshold
        self.kl_weight = kl_weight
        self.seed = seed
        self.local = False

    def place(self, raw: keras.Variable, **where: Any) -> None:
        super().place(raw, **where)
        # Any axis that is no channel is the window of a convolution.
        axes = len(self.inputs) + len(self.outputs)
        once = len(raw.shape) == axes and not where.get("slides")
        auto = self.sampling == "auto" and once
        self.local = where["linear"] and (auto or self.sampling == "local")

    def build(self, shape: tuple[int, ...]) -> None:
        self.log_sigma2 = self.add_weight(
            name="log_sigma2",
            shape=shape,
            initializer=keras.initializers.Constant(self.initial_log_sigma2),
        )
        self.threshold = self.add_weight(
            name="threshold",
            shape=(),
            initializer=keras.initializers.Constant(self.initial_threshold),
            trainable=False,
        )
        self.noise = NoiseSeed(self.seed, path=self.log_sigma2.path)
        self.add_penalty_scale()
        self.prior_of_weight.build(shape, self.inputs, self.outputs)

    @property
    def posterior(self) -> Any:
        """The weight as a `tfd.Normal` of the values it has now.

        Under `priors.NormalJeffreys` and `HalfCauchy`, without the scale that
        the weight is multiplied with; `moments` counts it in.
        """
        return self._posterior(_surgery.read(self.raw))

    @property
    def prior(self) -> Any:
        """What the posterior is compared with, a TFP distribution."""
        return self.prior_of_weight.distribution(self.posterior)

    def moments(self) -> tuple[Any, Any]:
        """Mean and variance of the weight, with the scale of its group."""
        posterior = self.posterior
        mean, variance = posterior.mean(), posterior.variance()
        moments = self.prior_of_weight.moments_of_scale()
        if moments is None:
            return mean, variance
        z, z_variance = moments
        spread = variance + keras.ops.square(mean)
        return z * mean, keras.ops.square(z) * variance + z_variance * spread

    def kl(self, w: Any) -> Any:
        """KL(posterior || prior), summed over the weight, in nats."""
        return self.prior_of_weight.kl(self._posterior(w), self.normal)

    def nats(self) -> Any:
        return self.kl_weight * self.kl(_surgery.read(self.raw))

    def penalty(self, w: Any) -> Any:
        return self.scaled(self.kl_weight * self.kl(w))

    def log_alpha(self, w: Any) -> Any:
        """log(variance / mean^2) of each weight, or of its group."""
        w = keras.ops.cast(w, "float32")
        return self.prior_of_weight.log_alpha(w, self._log_sigma2())

    def normal(self, shape: Any) -> Any:
        """Standard normal noise, float32."""
        return keras.random.normal(shape, dtype="float32", seed=self.noise)

    def variance(self, w: Any) -> Any | None:
        # Asked in noisy calls alone.
        is_local = self._is_local(training=True)
        return keras.ops.exp(self._log_sigma2()) if is_local else None

    def call(self, w: Any, training: bool | None = None) -> Any:
        if not is_noisy(training, self.trainable):
            kept = self.log_alpha(w) < keras.ops.convert_to_tensor(
                self.threshold
            )
            return self._scaled(
                keras.ops.where(kept, w, keras.ops.zeros_like(w)), None
            )
        if training:
            self.note_training()
        if self._is_local(training):
            return w
        deviation = keras.ops.exp(0.5 * self._log_sigma2())
        noise = deviation * self.normal(keras.ops.shape(w))
        sample = w + keras.ops.cast(noise, w.dtype)
        return self._scaled(sample, self.normal)

    def _is_local(self, training: bool | None) -> bool:
        noisy = is_noisy(training, self.trainable)
        return noisy and self.local and not self.prior_of_weight.scales

    def _scaled(self, w: Any, normal: Any) -> Any:
        scale = self.prior_of_weight.scale(normal)
        return w if scale is None else w * keras.ops.cast(scale, w.dtype)

    def _posterior(self, w: Any) -> Any:
        scale = keras.ops.exp(0.5 * self._log_sigma2())
        mean = keras.ops.cast(w, "float32")
        return tfp().distributions.Normal(mean, scale)

    def _log_sigma2(self) -> Any:
        return keras.ops.convert_to_tensor(self.log_sigma2)

    def copy(self) -> Gaussian:
        config = self.get_config()
        del config["name"]
        prior = self.prior_of_weight  # its class need not be registered
        config["prior"] = type(prior).from_config(prior.get_config())
        return type(self).from_config(config)

    def get_config(self) -> dict[str, Any]:
        prior = keras.saving.serialize_keras_object(self.prior_of_weight)
        prior.pop("build_config", None)  # it is built along with the weight
        return {
            **super().get_config(),
            "prior": prior,
            "log_sigma2": self.initial_log_sigma2,
            "sampling": self.sampling,
            "threshold": self.initial_threshold,
            "kl_weight": self.kl_weight,
            "seed": self.seed,
        }
