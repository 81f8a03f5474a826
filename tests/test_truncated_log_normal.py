"""The truncated log-normal distribution, by tables and quadrature.

The table was computed apart from this code; float32 has to reach it except
for the largest ratio, where only float64 does.
"""

import keras
import numpy as np
import pytest
from scipy import integrate, special, stats

from keras_sparse import truncated_log_normal

# mu, log sigma, KL, mean, signal-to-noise ratio
TABLE = np.array(
    [
        (0, -5, 7.269941, 0.994647, 246.70),
        (0, -1, 3.269941, 0.762877, 4.98),
        (0, 0, 2.269941, 0.523157, 2.0924),
        (-1, 0, 1.893348, 0.360453, 1.4884),
        (-3, 1, 0.860076, 0.123144, 0.6155),
        (-5, 2, 0.110037, 0.063447, 0.3885),
        (0, 5, 4e-6, 0.050149, 0.3339),
    ]
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_table(dtype):
    mu, log_sigma = TABLE[:, :2].T.astype(dtype)
    kl = truncated_log_normal.kl(mu, log_sigma)
    mean = truncated_log_normal.mean(mu, log_sigma)
    ratio = np.asarray(truncated_log_normal.signal_to_noise(mu, log_sigma))
    np.testing.assert_allclose(kl, TABLE[:, 2], atol=1e-5)
    np.testing.assert_allclose(mean, TABLE[:, 3], atol=1e-5)
    exact = slice(0 if dtype == "float64" else 1, None)
    np.testing.assert_allclose(ratio[exact], TABLE[exact, 4], rtol=1e-4)
    np.testing.assert_allclose(ratio[0], 246.70, rtol=1e-2)


def grid():
    mu, log_sigma = np.meshgrid(
        [-20.0, -15.0, -10.0, -3.0, -0.1, 0.0, 0.1, 2.0, 5.0],
        [-6.0, -3.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0],
    )
    return mu.ravel(), log_sigma.ravel()


def by_quadrature(mu, log_sigma):
    """KL, mean and ratio from integrals over log theta."""
    sigma = np.exp(log_sigma)
    # The density's largest value is 1, and its width is what it decays over.
    top = min(mu, 0.0)
    slope = (top - mu) / sigma**2
    width = 1 / max(1 / sigma, abs(slope))
    low = max(-20.0, top - 40 * width)
    high = min(0.0, top + 40 * width)

    def log_density(x):
        return -0.5 * ((x - mu) ** 2 - (top - mu) ** 2) / sigma**2

    def integral(f):
        points = np.linspace(low, high, 9)
        return sum(
            integrate.quad(f, a, b, epsabs=0, epsrel=1e-10)[0]
            for a, b in zip(points[:-1], points[1:], strict=True)
        )

    z = integral(lambda x: np.exp(log_density(x)))
    kl = integral(lambda x: np.exp(log_density(x)) * log_density(x)) / z
    kl += np.log(20) - np.log(z)
    first = integral(lambda x: np.exp(x + log_density(x))) / z
    spread = integral(
        lambda x: (np.exp(x) - first) ** 2 * np.exp(log_density(x))
    )
    return kl, first, first / np.sqrt(spread / z)


def test_moments_by_quadrature():
    mu, log_sigma = grid()
    expected = np.array(
        [by_quadrature(m, s) for m, s in zip(mu, log_sigma, strict=True)]
    )
    kl = truncated_log_normal.kl(mu, log_sigma)
    mean = truncated_log_normal.mean(mu, log_sigma)
    np.testing.assert_allclose(kl, expected[:, 0], atol=2e-5)
    np.testing.assert_allclose(mean, expected[:, 1], rtol=1e-6)
    ratio = truncated_log_normal.signal_to_noise(mu, log_sigma)
    low = expected[:, 2] < 100
    np.testing.assert_allclose(ratio[low], expected[low, 2], rtol=1e-4)


def test_float32_keeps_its_digits_all_over_the_range():
    mu, log_sigma = grid()
    near = mu * np.exp(-log_sigma) < 100  # deviations above the interval
    mu, log_sigma = mu[near], log_sigma[near]
    for function in (truncated_log_normal.kl, truncated_log_normal.mean):
        exact = function(mu, log_sigma)
        rounded = function(mu.astype("float32"), log_sigma.astype("float32"))
        np.testing.assert_allclose(rounded, exact, atol=2e-3)


@pytest.mark.parametrize("corner", [(-20, -20), (-20, 5), (5, -20), (5, 5)])
def test_gradients_are_finite_at_the_limits(corner):
    import tensorflow as tf

    mu, log_sigma = (tf.constant([float(each)]) for each in corner)
    with tf.GradientTape() as tape:
        tape.watch((mu, log_sigma))
        value = truncated_log_normal.kl(mu, log_sigma)
        value += truncated_log_normal.mean(mu, log_sigma)
        value += truncated_log_normal.signal_to_noise(mu, log_sigma)
        value += truncated_log_normal.sample(mu, log_sigma, 0.5)
    gradients = tape.gradient(value, (mu, log_sigma))
    assert np.isfinite(value).all()
    assert np.isfinite(gradients).all()


def test_gradient_of_the_divergence():
    import tensorflow as tf

    mu, log_sigma = (tf.constant(each) for each in TABLE[:, :2].T)
    with tf.GradientTape() as tape:
        tape.watch((mu, log_sigma))
        value = truncated_log_normal.kl(mu, log_sigma)
    slopes = tape.gradient(value, (mu, log_sigma))
    step = 1e-4
    for slope, (a, b) in zip(slopes, [(step, 0), (0, step)], strict=True):
        above = truncated_log_normal.kl(mu + a, log_sigma + b)
        below = truncated_log_normal.kl(mu - a, log_sigma - b)
        difference = (above - below) / (2 * step)
        np.testing.assert_allclose(slope, difference, rtol=1e-4, atol=1e-6)


def test_scaled_error_function():
    x = np.concatenate([np.linspace(0, 5, 301), np.geomspace(5, 1e9, 301)])
    ours = truncated_log_normal._erfcx(keras.ops.convert_to_tensor(x))
    np.testing.assert_allclose(ours, special.erfcx(x), rtol=1e-10)


def test_samples_have_the_moments_and_the_range():
    uniform = (np.arange(20000) + 0.5) / 20000
    mu, log_sigma = TABLE[:, :2].T[:, :, None]
    drawn = np.asarray(truncated_log_normal.sample(mu, log_sigma, uniform))
    assert drawn.min() >= np.exp(-20) and drawn.max() <= 1
    np.testing.assert_allclose(drawn.mean(1), TABLE[:, 3], rtol=1e-3)
    ratio = drawn.mean(1) / drawn.std(1)
    np.testing.assert_allclose(ratio[1:], TABLE[1:, 4], rtol=2e-3)


def test_evidence_gain():
    # log q(-20) + log 20 for q of TABLE, and for q nearly uniform
    mu, log_sigma = TABLE[1:, :2].T
    sigma = np.exp(log_sigma)
    ends = (-20 - mu) / sigma, -mu / sigma
    q = stats.truncnorm(*ends, loc=mu, scale=sigma)
    expected = q.logpdf(-20) + np.log(20)
    gain = truncated_log_normal.evidence_gain(mu, log_sigma)
    np.testing.assert_allclose(gain, expected, atol=1e-6)
    # The integral of q times the reduced prior over the prior.
    narrow = stats.halfnorm(-20, 1e-3)
    integral, _ = integrate.quad(
        lambda x: 20 * narrow.pdf(x) * q.pdf(x)[4], -20, -19.99
    )
    np.testing.assert_allclose(gain[4], np.log(integral), atol=1e-3)
