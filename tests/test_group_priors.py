"""Priors of whole groups: their divergences, and when a group is noise."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import keras_sparse as ks
from tests.test_priors import built, no_noise, random_posterior


def test_group_of_one_is_ard():
    q = random_posterior((5, 7))
    group = built(ks.priors.GroupARD(axis=(0, 1)), (5, 7))
    assert float(group.kl(q, no_noise)) == pytest.approx(
        float(ks.priors.ARD().kl(q, no_noise)), rel=1e-5
    )
    log_sigma2 = 2 * np.log(q.scale.numpy())
    np.testing.assert_allclose(
        group.log_alpha(q.loc, log_sigma2),
        ks.priors.ARD().log_alpha(q.loc, log_sigma2),
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("axis", "group"), [("outputs", 0), ("inputs", 1), (-1, 0), ((0,), 1)]
)
def test_group_divergence(axis, group):
    q = random_posterior((5, 7))
    prior = built(ks.priors.GroupARD(axis), (5, 7))
    moment, variance = q.loc**2 + q.scale**2, q.scale**2
    size = moment.shape[group]
    expected = 0.5 * sum(
        size * np.log(np.sum(moment, axis=group) / size)
        - np.sum(np.log(variance), axis=group)
    )
    assert float(prior.kl(q, no_noise)) == pytest.approx(expected, rel=1e-5)


def test_group_goes_when_all_of_its_weights_are_noise():
    """One strong weight among weak ones keeps its group."""
    mean = np.array([[1.0, 0.1], [0.1, 0.01], [0.1, 0.1]], "float32")
    log_sigma2 = np.log(np.array([[0.1, 1.0], [2.0, 1.0], [2.0, 0.5]]))
    log_sigma2 = log_sigma2.astype("float32")
    expected = np.log([[0.1, 0.5 / 0.1**2]] * 3)
    ard = built(ks.priors.GroupARD("outputs"), (3, 2))
    np.testing.assert_allclose(
        ard.log_alpha(mean, log_sigma2), expected, rtol=1e-5
    )
    horseshoe = built(ks.priors.HalfCauchy("outputs"), (3, 2))
    for name, log_variance in horseshoe.log_sigma2.items():
        log_variance.assign(np.full(log_variance.shape, np.log(0.2)))
        horseshoe.mu[name].assign(np.full(log_variance.shape, -3.0))
    # The variance of log z is 4 x .2 / 4.
    grown = [0.1 + np.expm1(0.2) * 1.1, 0.5 + np.expm1(0.2) * 0.51]
    np.testing.assert_allclose(
        horseshoe.log_alpha(mean, log_sigma2),
        np.log([[grown[0] / 1.0, grown[1] / 0.1**2]] * 3),
        rtol=1e-5,
    )


def test_gamma_hyper_prior_gives_the_mode():
    q = random_posterior((4, 3))
    prior = built(
        ks.priors.GroupARD("outputs", concentration=2.0, rate=0.5), (4, 3)
    )
    moments = np.sum(q.loc**2 + q.scale**2, axis=0)
    tau = (4 + 2 * (2.0 - 1)) / (moments + 2 * 0.5)
    np.testing.assert_allclose(prior.precision(q)[0], tau, rtol=1e-5)

    def objective(tau):
        normal = tfp.distributions.Normal(0.0, tau**-0.5)
        hyper = np.log(tau) - 0.5 * tau
        return float(np.sum(q.kl_divergence(normal)) - np.sum(hyper))

    found = float(prior.kl(q, no_noise))
    assert found == pytest.approx(objective(tau), rel=1e-5)
    assert found < min(objective(1.1 * tau), objective(0.9 * tau))


@pytest.mark.parametrize(
    "prior", [ks.priors.NormalJeffreys("outputs"), ks.priors.HalfCauchy()]
)
def test_moments_count_the_scale_in(prior):
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    ks.sparsify(
        layer, ks.Gaussian(prior, log_sigma2=-2.0, train_size=9), verbose=False
    )
    [(_, _, gaussian)] = ks.parametrized(layer)
    for variable in gaussian.prior_of_weight.trainable_variables:
        if "log_sigma2" in variable.name:
            variable.assign(np.full(variable.shape, -2.0))
    w = layer.kernel.value
    draw = tf.function(lambda: gaussian(w, training=True))
    samples = np.stack([draw() for _ in range(6000)])
    mean, variance = gaussian.moments()
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(samples.var(0), variance, rtol=0.25)
