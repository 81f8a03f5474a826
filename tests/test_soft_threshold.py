"""Soft thresholds by hand: values, gradients, what the decay does."""

import math
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_sparse as ks


def soft(shape, **settings):
    made = ks.SoftThreshold(**settings)
    made.build(shape)
    return made


def test_values_and_gradients_by_hand():
    import tensorflow as tf

    # The threshold is 1 / (1 + e^0) = .5, its slope .25.
    made = soft((4,), initial=0.0, rate=2.0)
    w = tf.constant([-2.0, -0.5, 0.25, 1.5])
    upstream = tf.constant([2.0, 3.0, 5.0, 7.0])
    with tf.GradientTape() as tape:
        tape.watch(w)
        value = made(w, training=True)
        loss = ops.sum(upstream * value)
    dw, dlearned = tape.gradient(loss, [w, made.learned.value])
    assert np.asarray(value).tolist() == [-1.5, 0, 0, 1]
    assert np.asarray(dw).tolist() == [2, 0, 0, 7]
    # -sign(w) upstream * .25 over what is kept, times the rate.
    assert float(dlearned) == pytest.approx((2 - 7) * 0.25 * 2)


def test_layers_of_double_precision():
    layer = keras.layers.Dense(1, dtype="float64", use_bias=False)
    model = keras.Sequential([keras.Input((3,), dtype="float64"), layer])
    ks.sparsify(model, ks.SoftThreshold(initial=0.0), verbose=False)
    layer.kernel.assign([[-1.0], [0.25], [2.0]])
    value = model.predict(np.eye(3), verbose=0)
    assert value.dtype == "float64"
    assert value.ravel().tolist() == [-0.5, 0, 1.5]
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    model.fit(np.eye(3), np.zeros((3, 1)), verbose=0)
    [(_, _, made)] = ks.parametrized(model)
    assert float(made.learned) > 0


def test_penalty_by_hand():
    made = soft((4,), decay=0.1, initial=-3.0, rate=2.0)
    assert float(made.penalty(None)) == pytest.approx(0.05 * 9)


def test_the_start_of_the_paper_changes_nothing():
    w = np.random.default_rng(0).normal(size=100).astype("float32")
    np.testing.assert_array_equal(soft((100,), initial=-3200.0)(w), w)


@pytest.mark.parametrize("settings", [{"decay": -1}, {"rate": 0}])
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="Expected.*Received"):
        ks.SoftThreshold(**settings)


def test_decay_chooses_the_sparsity():
    def sparsity(decay):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10)])
        made = ks.SoftThreshold(decay, initial=-5.0, rate=2.0)
        ks.sparsify(model, made, verbose=False)
        model.compile(keras.optimizers.Adam(0.02), "mse")
        x = np.random.default_rng(0).normal(size=(64, 20))
        model.fit(x, x[:, :10], batch_size=8, epochs=10, verbose=0)
        trained = model.predict(x, verbose=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a model to compile again
            ks.strip(model)
        np.testing.assert_array_equal(model.predict(x, verbose=0), trained)
        return np.mean(model.layers[0].get_weights()[0] == 0)

    little, much = sparsity(0.0), sparsity(1.0)
    assert little < 0.5 < much < 1


def test_decay_alone_draws_s_as_a_weight_decay_does():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    ks.sparsify(model, ks.SoftThreshold(0.5, initial=-3200.0), verbose=False)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.zeros((4, 3))
    model.fit(x, np.zeros((4, 2)), epochs=3, batch_size=4, verbose=0)
    [(_, _, made)] = ks.parametrized(model)
    expected = -3200 * math.pow(1 - 0.1 * 0.5, 3)
    assert float(made.learned) == pytest.approx(expected, rel=1e-5)
