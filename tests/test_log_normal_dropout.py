"""LogNormalDropout as a layer; its distribution is tested on its own."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse import truncated_log_normal
from keras_sparse.layers.log_normal_dropout import LogNormalDropout
from tests.contract import predict


def closing_half(layer):
    """Opens the first half of the channels, closes the second."""
    channels = layer.mu.shape[0]
    closed = np.arange(channels) >= channels // 2
    layer.mu.assign(np.where(closed, -5.0, 0.0))
    layer.log_sigma.assign(np.where(closed, 2.0, -1.0))


def test_evaluation_multiplies_by_the_mean_or_zero():
    layer = LogNormalDropout()
    layer.build((None, 4))
    closing_half(layer)
    expected = np.array([0.762877, 0.762877, 0, 0])
    np.testing.assert_allclose(layer.channel_scale(), expected, atol=1e-5)
    assert layer.channel_scale().dtype == np.float32
    x = np.arange(8, dtype="float32").reshape(2, 4)
    np.testing.assert_allclose(layer(x), x * expected, atol=1e-4)


def test_threshold():
    layer = LogNormalDropout(threshold=2.0)
    layer.build((None, 2))
    layer.mu.assign([0.0, -1.0])
    layer.log_sigma.assign([0.0, 0.0])  # ratios 2.0924 and 1.4884
    assert (layer.channel_scale() > 0).tolist() == [True, False]


def test_rule_of_the_evidence_closes_what_is_all_prior():
    layer = LogNormalDropout(rule="bmrs")
    layer.build((None, 4))
    layer.mu.assign([0.0, -3.0, -1.35, -18.0])
    layer.log_sigma.assign([-5.0, 1.0, 3.86, 0.0])
    is_open = layer.channel_scale() > 0
    assert is_open.tolist() == [True, True, False, False]
    again = LogNormalDropout.from_config(layer.get_config())
    assert again.rule == "bmrs"
    with pytest.raises(ValueError, match="'snr' or 'bmrs'"):
        LogNormalDropout(rule="none")


def test_noise_is_one_for_each_example_and_channel():
    layer = LogNormalDropout()
    x = np.ones((3, 5, 5, 2), "float32")
    layer.build(x.shape)
    layer.log_sigma.assign([0.0, 0.0])
    y = np.asarray(layer(x, training=True))
    assert (y == y[:, :1, :1]).all()
    assert len(np.unique(y)) == 6
    first = LogNormalDropout(axis=1)
    y = np.asarray(first(np.ones((3, 2, 5, 5), "float32"), training=True))
    assert first.mu.shape == (2,)
    assert (y == y[..., :1, :1]).all()


def test_training_and_evaluation_agree_in_the_mean():
    layer = LogNormalDropout(seed=1)
    x = np.ones((40000, 1), "float32")
    layer.build(x.shape)
    layer.mu.assign([-1.0])
    layer.log_sigma.assign([0.0])
    mean = np.asarray(layer(x, training=True)).mean()
    np.testing.assert_allclose(mean, 0.360453, atol=0.005)
    np.testing.assert_allclose(layer(x[:1])[0, 0], 0.360453, atol=1e-5)


def test_a_frozen_layer_draws_no_noise_and_pays_nothing():
    layer = LogNormalDropout(train_size=10)
    x = np.ones((2, 3), "float32")
    layer.build(x.shape)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    assert layer.losses == []


def test_limits_hold_after_a_step():
    layer = LogNormalDropout()
    layer.build((None, 2))
    layer.mu.assign([4.9, -19.9])
    layer.log_sigma.assign([4.9, -19.9])
    optimizer = keras.optimizers.SGD(1.0)
    push = [np.array([-9.0, 9.0], "float32")] * 2
    optimizer.apply(push, [layer.mu, layer.log_sigma])
    # Above 0 the mean would be outside of the interval.
    np.testing.assert_array_equal(layer.mu, [0.0, -20.0])
    np.testing.assert_array_equal(layer.log_sigma, [5.0, -20.0])


def network(make):
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            make(train_size=50, kl_weight=2.0),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )


def test_rate_changes_nothing_but_the_speed_under_adam():
    plain, fast = LogNormalDropout(), LogNormalDropout(rate=10.0)
    for layer in (plain, fast):
        layer.build((None, 2))
        optimizer = keras.optimizers.Adam(0.1)
        optimizer.build(layer.trainable_variables)
        push = [np.array([1.0, -1.0], "float32")] * 2
        start = layer.channel_scale()
        layer.mu.assign(np.full(2, -2.0 / layer.rate))
        optimizer.apply(push, layer.trainable_variables)
        np.testing.assert_allclose(start, 0.994647, atol=1e-5)
    for before, after in [
        (plain.mu, fast.mu),
        (plain.log_sigma, fast.log_sigma),
    ]:
        moved = np.asarray(before) - np.asarray(before).mean()
        np.testing.assert_allclose(np.ptp(after), np.ptp(before), rtol=1e-5)
        np.testing.assert_allclose(
            np.asarray(after), moved + np.mean(before) / 10, atol=1e-5
        )
    kl = truncated_log_normal.kl(10 * fast.mu, 10 * fast.log_sigma)
    np.testing.assert_allclose(fast.nats(), np.sum(kl), rtol=1e-6)


def test_penalty_is_paid_once_for_each_layer():
    layer = LogNormalDropout(train_size=50, kl_weight=2.0)
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], keras.layers.Add()([layer(a), layer(b)]))
    expected = 2 * 4 * 7.269941
    assert float(layer.nats()) == pytest.approx(expected, rel=1e-5)
    [loss] = model.losses
    assert float(loss) == pytest.approx(expected / 50, rel=1e-5)
    layer.beta.assign(0.5)
    assert float(model.losses[0]) == pytest.approx(expected / 100, rel=1e-5)


def test_nothing_is_paid_before_the_training_size_is_known():
    layer = LogNormalDropout()
    layer.build((None, 4))
    assert float(layer.losses[0]) == 0


def test_save_load_and_clone(tmp_path):
    model = network(LogNormalDropout)
    closing_half(model.layers[1])
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype("float32")
    ks.save(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(predict(loaded, x), predict(model, x))
    cloned = keras.models.clone_model(model)
    for each in (loaded, cloned):
        assert each.layers[1].get_config() == model.layers[1].get_config()
        assert len(each.losses) == 1
    assert float(loaded.losses[0]) == float(model.losses[0])
    np.testing.assert_allclose(cloned.losses[0], 8 * 7.269941 / 50, rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = network(LogNormalDropout)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in model.layers[1].trainable_variables} == {"float32"}
    model.compile("adam", "mse")
    x = np.ones((8, 6, 6, 3), "float32")
    loss = model.fit(x, np.zeros((8, 2)), verbose=0).history["loss"][0]
    assert np.isfinite(loss)
    assert model.layers[1](x[..., :1] * np.ones(4)).dtype == model.compute_dtype


def test_a_channel_without_use_closes_and_one_in_use_stays_open():
    x = np.random.default_rng(0).normal(size=(512, 2)).astype("float32")
    layer = LogNormalDropout(train_size=512)
    model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(x, x[:, :1], batch_size=64, epochs=30, verbose=0)
    used, unused = layer.channel_scale()
    assert used > 0.5
    assert unused == 0


def test_wrong_arguments():
    for wrong in ({"kl_weight": 0}, {"rate": 0.0}):
        with pytest.raises(ValueError, match="`kl_weight` and `rate`"):
            LogNormalDropout(**wrong)
    with pytest.raises(ValueError, match="train_size"):
        LogNormalDropout(train_size=0)
    with pytest.raises(ValueError, match="known number of channels"):
        LogNormalDropout(axis=1).build((None, None, 3))
    for axis in (0, 2, -2, -3):
        with pytest.raises(ValueError, match="axis of the inputs"):
            LogNormalDropout(axis=axis).build((None, 3))
