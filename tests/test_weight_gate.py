"""Weight gates by hand: forward, both gradients, penalty, start."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_sparse as ks


def gate(values, **settings):
    made = ks.WeightGate(**settings)
    made.build(np.shape(values))
    made.gates.assign(values)
    return made


def test_values_and_gradients_by_hand():
    import tensorflow as tf

    w = tf.constant([1.0, -2.0, 3.0, -4.0])
    upstream = tf.constant([2.0, 3.0, 5.0, 7.0])
    made = gate([0.49, 0.5, 1.0, 0.0])
    with tf.GradientTape() as tape:
        tape.watch(w)
        value = made(w, training=True)
        loss = ops.sum(upstream * value)
    dw, dgates = tape.gradient(loss, [w, made.gates.value])
    assert np.asarray(value).tolist() == [0, -2, 3, 0]
    assert np.asarray(made(w)).tolist() == [0, -2, 3, 0]
    assert np.asarray(dw).tolist() == [0, 3, 5, 0]
    # upstream * w, open or shut.
    assert np.asarray(dgates).tolist() == [2, -6, 15, -28]


def test_penalty_and_its_gradient_by_hand():
    import tensorflow as tf

    made = gate([0.0, 0.5, 0.8, 1.0], price=2.0, bimodal=10.0)
    with tf.GradientTape() as tape:
        penalty = made.penalty(None)
    # 10 (.25 + .16) + 2 (.5 + .8 + 1)
    assert float(penalty) == pytest.approx(4.1 + 4.6)
    gradient = tape.gradient(penalty, made.gates.value)
    # 10 (1 - 2 g) + 2
    np.testing.assert_allclose(gradient, [12, 2, -4, -8], atol=1e-5)


def test_pretrained_start_opens_the_largest():
    layer = keras.layers.Dense(2)
    layer.build((None, 2))
    layer.kernel.assign([[1.0, -4.0], [3.0, -2.0]])
    ks.sparsify(layer, ks.WeightGate(keep=0.5), verbose=False)
    [(_, _, made)] = ks.parametrized(layer)
    expected = np.float32([[0.49, 1], [1, 0.49]])
    np.testing.assert_array_equal(made.gates, expected)
    np.testing.assert_array_equal(ks.strip(layer).kernel, [[0, -4], [3, 0]])


@pytest.mark.parametrize(
    "settings", [{"price": -1}, {"initial": 1.5}, {"keep": 0.0}]
)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="Expected.*Received"):
        ks.WeightGate(**settings)


def test_gates_train_stay_in_range_and_a_price_shuts_them():
    def density(price):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10)])
        ks.sparsify(model, ks.WeightGate(price), verbose=False)
        model.compile(keras.optimizers.Adam(0.02), "mse")
        x = np.random.default_rng(0).normal(size=(64, 20))
        model.fit(x, x[:, :10], batch_size=8, epochs=8, verbose=0)
        [(_, _, made)] = ks.parametrized(model)
        gates = ops.convert_to_numpy(made.gates)
        assert gates.min() >= 0 and gates.max() <= 1
        trained = model.predict(x, verbose=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a model to compile again
            ks.strip(model)
        np.testing.assert_array_equal(model.predict(x, verbose=0), trained)
        return np.mean(model.layers[0].get_weights()[0] != 0)

    assert density(0.0) > 0.8
    assert 0 < density(1e-2) < 0.5
