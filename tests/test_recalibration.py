"""BatchNormalization statistics after pruning."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks


def net():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8),
            layers.BatchNormalization(momentum=0.9),
            layers.Dropout(0.5),
            layers.Dense(4),
            layers.BatchNormalization(),
        ]
    )


def test_statistics_are_averages_over_the_batches():
    model = keras.Sequential([keras.Input((1,)), layers.BatchNormalization()])
    batches = [np.float32([[0], [4]]), np.float32([[7], [7]])]
    batches.append(np.float32([[1], [3]]))
    ks.recalibrate(model, [(x, None) for x in batches])
    mean, variance = model.layers[0].get_weights()[2:]
    assert mean == pytest.approx((2 + 7 + 2) / 3)
    assert variance == pytest.approx((4 + 0 + 1) / 3)


def test_a_layer_that_is_called_twice_averages_over_its_calls():
    inputs = keras.Input((1,))
    norm = keras.layers.BatchNormalization()
    model = keras.Model(inputs, [norm(inputs), norm(2 * inputs)])
    ks.recalibrate(model, [np.array([[1.0], [3.0]]), np.array([[5.0], [7.0]])])
    # Means 2 and 4, then 6 and 12; variances 1 and 4, then 1 and 4.
    np.testing.assert_allclose(norm.moving_mean, [6.0])
    np.testing.assert_allclose(norm.moving_variance, [2.5])


def test_pruned_net_is_normalised_again_at_every_depth():
    model = net()
    x = np.random.default_rng(0).normal(3, 2, (512, 6)).astype("float32")
    ks.recalibrate(model, x)
    ks.prune(model, 0.4)
    before = [w.copy() for w in model.get_weights()]
    off = model.predict(x, verbose=0)
    assert ks.recalibrate(model, x) is model
    out = model.predict(x, verbose=0)
    # Batches of 128 of 512 examples: their average variance is a bit less.
    assert np.abs(off.mean(0)).max() > 0.2
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(0), 1, atol=0.05)
    # Nothing but statistics has changed, and the layers are as they were.
    names = [w.path.rsplit("/", 1)[1] for w in model.weights]
    for name, a, b in zip(names, before, model.get_weights(), strict=True):
        assert ("moving" in name) != np.array_equal(a, b)
    assert model.layers[1].momentum == 0.9
    assert "call" not in vars(model.layers[1])


def test_sparse_models_and_data_sets():
    import tensorflow as tf

    model = ks.sparsify(net(), ks.Mask(), verbose=False)
    x = np.random.default_rng(0).normal(3, 2, (64, 6)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, x)).batch(64)
    ks.recalibrate(model, data)
    np.testing.assert_allclose(
        model.predict(x, verbose=0).mean(0), 0, atol=1e-4
    )


def test_nothing_to_recalibrate():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="BatchNormalization"):
        ks.recalibrate(model, np.zeros((1, 2)))
    model = net()
    with pytest.raises(ValueError, match="at least one batch"):
        ks.recalibrate(model, iter([]))
    model.trainable = False
    with pytest.raises(ValueError, match="not frozen"):
        ks.recalibrate(model, np.zeros((1, 6)))
