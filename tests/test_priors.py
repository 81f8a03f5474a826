"""KL divergences, worked out by hand or by an independent method."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special

import keras_sparse as ks
from keras_sparse.distributions import families

# log alpha: exact KL to the log-uniform prior, its sigmoid fit, ARD's.
TABLE = {
    -8: (4.635014, 4.635899, 4.000168),
    -4: (2.625755, 2.634208, 2.009075),
    -2: (1.544155, 1.540533, 1.063464),
    0: (0.426686, 0.431239, 0.346574),
    1: (0.173194, 0.177970, 0.156631),
    2: (0.066168, 0.068417, 0.063464),
    3: (0.024688, 0.025420, 0.024294),
    5: (0.003365, 0.003415, 0.003358),
}


def posterior_at(log_alpha, mean=0.3):
    scale = abs(mean) * math.exp(log_alpha / 2)
    return tfp.distributions.Normal(
        tf.constant([mean], tf.float32), tf.constant([scale], tf.float32)
    )


def no_noise(shape):
    raise AssertionError("a closed form needs no samples")


def built(prior, shape, **axes):
    prior.build(shape, **axes)
    return prior


@pytest.mark.parametrize("log_alpha", TABLE)
@pytest.mark.parametrize("mean", [0.3, -2.0, 1e-3])
def test_divergence_of_one_weight(log_alpha, mean):
    exact, fit, ard = TABLE[log_alpha]
    q = posterior_at(log_alpha, mean)
    log_uniform = ks.priors.LogUniform()
    assert float(log_uniform.kl(q, no_noise)) == pytest.approx(fit, abs=1e-4)
    oracle = ks.priors.LogUniform(exact=True)
    assert float(oracle.kl(q, no_noise)) == pytest.approx(exact, abs=1e-4)
    relevance = ks.priors.ARD()
    assert float(relevance.kl(q, no_noise)) == pytest.approx(ard, abs=1e-4)


@pytest.mark.parametrize("log_alpha", [-12.0, -8.0, -3.5, -1.0, 0.0, 2.0, 8.0])
def test_gradient_of_the_exact_divergence_is_dawsons_function(log_alpha):
    log_sigma2 = tf.constant([log_alpha + 2 * math.log(0.3)], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(log_sigma2)
        q = tfp.distributions.Normal([0.3], tf.exp(0.5 * log_sigma2))
        divergence = ks.priors.LogUniform(exact=True).kl(q, no_noise)
    found = float(tape.gradient(divergence, log_sigma2)[0])
    u = math.exp(-log_alpha) / 2
    expected = -math.sqrt(u) * special.dawsn(math.sqrt(u))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_fit_is_at_most_one_hundredth_off():
    worst = 0.0
    for log_alpha in np.linspace(-9, 9, 73):
        q = posterior_at(float(log_alpha))
        fit = float(ks.priors.LogUniform().kl(q, no_noise))
        exact = float(ks.priors.LogUniform(exact=True).kl(q, no_noise))
        worst = max(worst, abs(fit - exact))
    assert 0.009 < worst < 0.0095


def test_ard_is_the_best_of_all_normal_priors():
    q = posterior_at(-1.0)
    best = float(ks.priors.ARD().kl(q, no_noise))
    second_moment = 0.09 + 0.09 * math.exp(-1.0)
    tau = float(ks.priors.ARD().precision(q)[0])
    assert tau == pytest.approx(1 / second_moment, rel=1e-5)
    for factor in (0.5, 0.9, 1.1, 2.0):
        prior = tfp.distributions.Normal(0.0, math.sqrt(factor / tau))
        assert float(q.kl_divergence(prior)[0]) > best


def random_posterior(shape, seed=0):
    rng = np.random.default_rng(seed)
    loc = rng.normal(size=shape).astype("float32")
    scale = np.exp(rng.normal(size=shape)).astype("float32")
    return tfp.distributions.Normal(loc, scale)


def test_learned_normal():
    q = random_posterior((4, 3))
    prior = built(ks.priors.Normal(scale=2.0), (4, 3))
    expected = np.sum(
        np.log(2.0 / q.scale) + (q.scale**2 + q.loc**2) / 8.0 - 0.5
    )
    assert float(prior.kl(q, no_noise)) == pytest.approx(expected, rel=1e-5)
    assert len(prior.trainable_variables) == 1
    fixed = built(ks.priors.Normal(scale=2.0, learned=False), (4, 3))
    assert not fixed.trainable_variables


class Laplace(ks.priors.Prior):
    """A user's prior, to which TFP knows no closed divergence."""

    def distribution(self, posterior):
        return tfp.distributions.Laplace(0.0, 0.5)


def test_a_prior_of_ones_own_is_estimated_from_samples():
    q = random_posterior((3,))
    prior = Laplace(samples=200_000)
    found = float(prior.kl(q, lambda s: keras.random.normal(s, seed=1)))
    x = np.linspace(-60, 60, 400_001)
    expected = 0.0
    for loc, scale in zip(q.loc.numpy(), q.scale.numpy(), strict=True):
        density = np.exp(-0.5 * ((x - loc) / scale) ** 2)
        density /= scale * math.sqrt(2 * math.pi)
        log_q = -0.5 * ((x - loc) / scale) ** 2 - math.log(
            scale * math.sqrt(2 * math.pi)
        )
        log_p = -np.abs(x) / 0.5 - math.log(1.0)
        expected += np.sum(density * (log_q - log_p)) * (x[1] - x[0])
    assert found == pytest.approx(expected, rel=0.02)


def test_log_uniform_is_a_distribution_of_tfp():
    density = families().LogUniform()
    np.testing.assert_allclose(density.log_prob(0.25), math.log(4.0))


@pytest.mark.parametrize(
    "prior",
    [
        ks.priors.ARD(concentration=1.5, rate=0.1),
        ks.priors.GroupARD("inputs"),
        ks.priors.LogUniform(exact=True),
        ks.priors.Normal(0.3, learned=False),
        ks.priors.NormalJeffreys("inputs"),
        ks.priors.HalfCauchy("outputs", tau=1e-3),
    ],
)
def test_config_round_trip(prior):
    config = keras.saving.serialize_keras_object(prior)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == prior.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ks.priors.ARD(rate=-1.0), "rate that is not negative"),
        (lambda: ks.priors.ARD(concentration=0.5), "at least 1"),
        (lambda: ks.priors.Normal(scale=0.0), "positive scale"),
        (lambda: built(ks.priors.GroupARD("rows"), (2, 3)), "'outputs'"),
        (lambda: built(ks.priors.GroupARD(2), (2, 3)), "2 axes"),
        (lambda: ks.priors.HalfCauchy(tau=0.0), "positive tau"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_prior():
    with pytest.raises(TypeError, match=r"keras_sparse\.priors"):
        ks.Gaussian(prior="ard")


@pytest.mark.parametrize(
    "prior",
    [
        ks.priors.ARD(),
        ks.priors.GroupARD(),
        ks.priors.LogUniform(),
        ks.priors.Normal(),
        ks.priors.NormalJeffreys(),
        ks.priors.HalfCauchy(),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_a_model_with_the_prior_trains_saves_loads_and_clones(prior, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)]
    )
    ks.sparsify(model, ks.Gaussian(prior, train_size=20), verbose=False)
    model.compile("adam", "mse")
    x = np.ones((20, 4), "float32")
    model.fit(x, x[:, :2], verbose=0)
    ks.save(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    np.testing.assert_allclose(loaded.losses, model.losses, rtol=1e-6)
    loaded.fit(x, x[:, :2], verbose=0)
    assert len(keras.models.clone_model(model).losses) == 2
    evaluated = model.predict(x, verbose=0)
    with pytest.warns(UserWarning, match="compile"):
        ks.strip(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), evaluated)


def test_one_prior_for_several_weights_is_copied():
    prior = ks.priors.GroupARD()
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(3, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    ks.sparsify(model, lambda layer, slot: ks.Gaussian(prior), verbose=False)
    conv, dense = (p for _, _, p in ks.parametrized(model))
    alone = built(ks.priors.GroupARD(), conv.raw.shape)
    assert float(conv.nats()) == pytest.approx(
        float(alone.kl(conv.posterior, no_noise)), rel=1e-5
    )
    assert conv.prior_of_weight is not dense.prior_of_weight
