"""Learned thresholds by hand: laws, gradients, one budget, exact sparsity."""

import math
import statistics

import keras
import numpy as np
import pytest
from keras import ops

import keras_sparse as ks
from keras_sparse.parametrizations.shared_budget import SharedBudget

# r at which each law gives this sparsity.
GAUSSIAN = {0.8: 1.282, 0.9: 1.645, 0.95: 1.960, 0.98: 2.326, 0.99: 2.576}


# Threshold over E|w|.
LAPLACE = {0.8: 1.609, 0.9: 2.303, 0.95: 2.996, 0.98: 3.912, 0.99: 4.605}


def learned(shape, r, law="gaussian", **settings):
    made = ks.LearnedThreshold(law, smallest=1, **settings)
    made.build(shape)
    made.learned.assign(r / made.rate)
    return made


def gaussian_sample():
    """Quantiles: a sample that follows the law exactly."""
    normal = statistics.NormalDist()
    return np.float32([normal.inv_cdf((i + 0.5) / 4000) for i in range(4000)])


def laplace_sample():
    uniform = (np.arange(2000) + 0.5) / 2000
    half = -np.log1p(-uniform)
    return np.float32(np.concatenate([half, -half]))


@pytest.mark.parametrize("sparsity", GAUSSIAN)
def test_gaussian_law(sparsity):
    w = gaussian_sample()
    made = learned(w.shape, GAUSSIAN[sparsity])
    assert 1 - float(made.density(w)) == pytest.approx(sparsity, abs=2e-4)
    assert np.mean(np.asarray(made(w)) == 0) == pytest.approx(
        sparsity, abs=2e-3
    )


@pytest.mark.parametrize("sparsity", LAPLACE)
def test_laplace_law(sparsity):
    w = laplace_sample()
    kappa = np.mean(np.abs(w)) / np.sqrt(np.mean(w**2))
    assert kappa == pytest.approx(0.707, abs=3e-3)
    made = learned(w.shape, LAPLACE[sparsity] * kappa, "laplace")
    assert 1 - float(made.density(w)) == pytest.approx(sparsity, abs=2e-4)
    assert np.mean(np.asarray(made(w)) == 0) == pytest.approx(
        sparsity, abs=2e-3
    )


@pytest.mark.parametrize(
    "sample, law", [(gaussian_sample, "gaussian"), (laplace_sample, "laplace")]
)
def test_auto_finds_the_law(sample, law):
    w = sample()
    auto = float(learned(w.shape, 2.0, "auto").density(w))
    fixed = float(learned(w.shape, 2.0, law).density(w))
    other = float(
        learned(
            w.shape, 2.0, "laplace" if law == "gaussian" else "gaussian"
        ).density(w)
    )
    assert abs(auto - fixed) < 0.05 * abs(auto - other)


@pytest.mark.parametrize(
    "budget, start, r",
    [(0.9, 0.6, 0.739), (0.95, 0.6, 0.789), (0.9, 1, 1.645), (0.98, 1, 2.326)],
)
def test_start(budget, start, r):
    made = ks.LearnedThreshold(budget=budget, start=start, smallest=1)
    made.build((10,))
    assert made.ratio() == pytest.approx(r, abs=5e-4)


def test_values_and_gradients_by_hand():
    import tensorflow as tf

    # sigma = sqrt((1 + 4 + 4 + 16) / 4) = 2.5, threshold 1.2 * 2.5 = 3.
    w = tf.constant([1.0, -2.0, 2.0, -4.0])
    upstream = tf.constant([3.0, 5.0, 7.0, 11.0])
    made = learned((4,), 1.2, rate=0.5, p=None)
    with tf.GradientTape() as tape:
        tape.watch(w)
        value = made(w, training=True)
        loss = ops.sum(upstream * value)
    dw, dlearned = tape.gradient(loss, [w, made.learned.value])
    assert np.asarray(value).tolist() == [0, 0, 0, -4]
    # To every weight as it is; dw/dr is -w / r where pruned, 0 where kept.
    assert np.asarray(dw).tolist() == [3, 5, 7, 11]
    dr = -(3 * 1 + 5 * -2 + 7 * 2) / 1.2
    assert float(dlearned) == pytest.approx(dr * made.rate, rel=1e-6)


def test_shrinkage_and_theta_by_hand():
    import tensorflow as tf

    # As above: the threshold is 3, and (4^3 - 3^3)^(1/3) = 3.332.
    w = tf.constant([1.0, -2.0, 2.0, -4.0])
    made = learned((4,), 1.2, theta=0.25)
    with tf.GradientTape() as tape:
        tape.watch(w)
        value = made(w, training=True)
        loss = ops.sum(value)
    dw, dlearned = tape.gradient(loss, [w, made.learned.value])
    np.testing.assert_allclose(value, [0, 0, 0, -3.332], atol=5e-4)
    assert np.asarray(dw).tolist() == [0.25, 0.25, 0.25, 1]
    assert float(dlearned) == pytest.approx(-(1 - 2 + 2) / 1.2, rel=1e-6)


def test_penalty_by_hand():
    w = gaussian_sample()
    made = learned(w.shape, 1.282, budget=0.9, strength=10)
    # The density is .2 and should be .1.
    assert float(made.penalty(w)) == pytest.approx(
        10 * math.log(2) ** 2, rel=5e-3
    )
    made.learned.assign(1.6449 / made.rate)
    assert float(made.penalty(w)) == pytest.approx(0, abs=1e-4)


def test_penalty_of_a_shared_budget_by_hand():
    w = gaussian_sample()
    first = learned(w.shape, 1.282, budget=0.9)
    second = learned(w.shape, 2.326, budget=0.9)
    small = ks.LearnedThreshold(smallest=5)
    small.build((4,))
    second.place(keras.Variable(w), inputs=(), outputs=(), linear=False)
    peers = [small, first, second]
    for each in peers:
        each.shared = SharedBudget(peers, [4.0, 16.0, 80.0])
    # .04 * 1 + .16 * .2 + .8 * .02 = .088, where .1 was asked for.
    expected = 10 * math.log(0.088 / 0.1) ** 2
    assert float(first.penalty(w)) == pytest.approx(expected, rel=0.02)
    assert second.penalty(w) is None and small.penalty(w) is None


def test_small_weights_stay_dense():
    made = ks.LearnedThreshold()
    made.build((3, 333))
    assert not made.variables
    w = np.random.default_rng(0).normal(size=(3, 333)).astype("float32")
    np.testing.assert_array_equal(made(w, training=True), w)


@pytest.mark.parametrize(
    "settings",
    [{"law": "cauchy"}, {"of": "bytes"}, {"budget": 1.0}, {"strength": 0}],
)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="Expected.*Received"):
        ks.LearnedThreshold(**settings)
