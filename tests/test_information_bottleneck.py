"""InformationBottleneck: its penalty, its scale, and what it closes.

What it shares with LogNormalDropout is tested there.
"""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse.layers.information_bottleneck import InformationBottleneck
from tests.contract import predict


def built(mu, log_sigma2, shape=None, **kwargs):
    layer = InformationBottleneck(**kwargs)
    layer.build(shape or (None, len(mu)))
    layer.mu.assign(mu)
    layer.log_sigma2.assign(log_sigma2)
    return layer


def test_divergence_by_hand():
    # .5 log(1 + 1) + .5 log(1 + 4 / .25) = .346574 + 1.416607
    layer = built([1.0, -2.0], [0.0, np.log(0.25)])
    np.testing.assert_allclose(layer.divergence(), 1.763180, atol=1e-5)
    np.testing.assert_allclose(layer.log_alpha(), [0, -np.log(16)], atol=1e-5)


@pytest.mark.parametrize(
    "log_alpha, expected",
    [(-8, 4.000168), (-2, 1.063464), (0, 0.346574), (3, 0.024294)],
)
def test_divergence_is_half_a_softplus(log_alpha, expected):
    layer = built([1.0], [log_alpha])
    np.testing.assert_allclose(layer.divergence(), expected, atol=1e-5)


@pytest.mark.parametrize(
    "kwargs, shape, positions",
    [
        ({}, (None, 2), 1),
        ({}, (None, 7, 5, 2), 35),
        ({}, (None, 9, 2), 9),
        ({"axis": 1}, (None, 2, 7, 5), 35),
        ({"area": 10}, (None, None, None, 2), 10),
    ],
)
def test_penalty_counts_positions(kwargs, shape, positions):
    layer = built(
        [1.0, 1.0], [0.0, 0.0], shape, train_size=100, kl_weight=3.0, **kwargs
    )
    expected = 3 * positions * 2 * 0.346574
    np.testing.assert_allclose(layer.nats(), expected, rtol=1e-5)
    np.testing.assert_allclose(layer.losses, [expected / 100], rtol=1e-5)


def test_evaluation_multiplies_by_the_mean_or_zero():
    # log alpha: -1.386, -.1, .1, and far above for a mean of zero
    log_sigma2 = [0.0, -0.1, 0.1, -9.0]
    layer = built([-2.0, 1.0, 1.0, 0.0], log_sigma2)
    np.testing.assert_array_equal(layer.channel_scale(), [-2.0, 1.0, 0.0, 0.0])
    assert layer.channel_scale().dtype == np.float32
    x = np.arange(8, dtype="float32").reshape(2, 4)
    np.testing.assert_array_equal(layer(x), x * [-2, 1, 0, 0])
    wider = built([-2.0, 1.0, 1.0, 0.0], log_sigma2, threshold=1.0)
    np.testing.assert_array_equal(wider.channel_scale(), [-2.0, 1.0, 1.0, 0.0])


def test_noise_has_its_moments_and_is_one_for_each_example_and_channel():
    layer = built([2.0, -1.0], [0.0, np.log(0.25)], (None, 2, 2), seed=3)
    y = np.asarray(layer(np.ones((40000, 2, 2), "float32"), training=True))
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    np.testing.assert_allclose(y[:, 0].mean(0), [2, -1], atol=0.02)
    np.testing.assert_allclose(y[:, 0].std(0), [1, 0.5], atol=0.02)
    np.testing.assert_allclose(np.corrcoef(y[:, 0].T)[0, 1], 0, atol=0.02)


def test_start_leaves_a_pretrained_network_nearly_as_it_was():
    layer = InformationBottleneck()
    x = np.ones((100, 400), "float32")
    layer.build(x.shape)
    scale = layer.channel_scale()
    assert abs(scale.mean() - 1) < 0.005 and 0.005 < scale.std() < 0.02
    noise = np.asarray(layer(x, training=True)) - scale
    np.testing.assert_allclose(noise.std(), np.exp(-4.5), rtol=0.05)


def test_rate_changes_how_values_are_held_and_nothing_else():
    layer = InformationBottleneck(rate=10.0)
    layer.build((None, 2))
    np.testing.assert_allclose(layer.channel_scale(), 1, atol=0.1)
    layer.mu.assign([0.1, -0.2])
    layer.log_sigma2.assign([0.0, np.log(0.25) / 10])
    np.testing.assert_allclose(layer.divergence(), 1.763180, atol=1e-5)
    np.testing.assert_allclose(layer.channel_scale(), [0, -2], atol=1e-6)


def test_a_frozen_layer_draws_no_noise_and_pays_nothing():
    layer = built([1.0, 2.0], [0.0, 0.0], train_size=10)
    layer.trainable = False
    x = np.ones((2, 2), "float32")
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    assert layer.losses == []


def test_save_load_and_clone(tmp_path):
    layer = InformationBottleneck(
        train_size=10, kl_weight=2.0, threshold=1.0, area=3, seed=4
    )
    model = keras.Sequential([keras.Input((4, 6)), layer])
    layer.log_sigma2.assign([3.0, -3.0] * 3)
    x = np.ones((2, 4, 6), "float32")
    ks.save(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(predict(loaded, x), predict(model, x))
    np.testing.assert_array_equal(loaded.losses, model.losses)
    cloned = keras.models.clone_model(model)
    assert cloned.layers[0].get_config() == layer.get_config()
    assert len(cloned.losses) == 1 and float(cloned.losses[0]) > 0


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    layer = InformationBottleneck(dtype=policy)
    x = np.ones((2, 3), "float32")
    assert layer(x, training=True).dtype == layer.compute_dtype
    assert {v.dtype for v in layer.trainable_variables} == {"float32"}
    assert layer.nats().dtype == "float32"


def test_a_channel_without_use_closes_and_one_in_use_stays_open():
    x = np.random.default_rng(0).normal(size=(512, 2)).astype("float32")
    layer = InformationBottleneck(train_size=512)
    model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(x, x[:, :1], batch_size=64, epochs=30, verbose=0)
    used, unused = layer.channel_scale()
    assert abs(used) > 0.5
    assert unused == 0


def test_wrong_arguments():
    with pytest.raises(ValueError, match="area"):
        InformationBottleneck(area=0)
    with pytest.raises(ValueError, match="Pass `area`"):
        InformationBottleneck().build((None, None, 3))
