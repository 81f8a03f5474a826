"""N:M by hand: values, gradient, agreement with the pattern."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_sparse as ks
from tests.contract import LAYERS


def test_values_and_gradient_by_hand():
    import tensorflow as tf

    w = tf.constant([[4.0], [-1.0], [3.0], [2.0], [0.5], [-9.0]])
    upstream = tf.constant([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    made = ks.NofM(2, 4, decay=0.1)
    with tf.GradientTape() as tape:
        tape.watch(w)
        value = made(w, training=True)
        loss = ops.sum(upstream * value)
    # The last two are a group of their own, filled up.
    assert np.ravel(value).tolist() == [4, 0, 3, 0, 0.5, -9]
    assert np.ravel(made(w)).tolist() == [4, 0, 3, 0, 0.5, -9]
    gradient = np.ravel(tape.gradient(loss, w))
    np.testing.assert_allclose(gradient, [1, 1.9, 3, 4.2, 5, 6], rtol=1e-6)


@pytest.mark.parametrize("n, m", [(1, 4), (2, 4), (4, 8), (1, 3)])
@pytest.mark.parametrize("kind", ["Dense", "Conv2D", "Conv2DTranspose"])
def test_choice_is_that_of_the_pattern(kind, n, m):
    keras.utils.set_random_seed(0)
    model, other = LAYERS[kind](), LAYERS[kind]()
    other.set_weights(model.get_weights())
    ks.strip(ks.sparsify(model, ks.NofM(n, m), verbose=False))
    ks.prune(other, 1 - n / m, pattern=ks.patterns.n_m(n, m))
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_ties_keep_the_count():
    made = ks.NofM(2, 4)
    value = np.asarray(made(np.ones((8, 3), np.float32)))
    assert value.sum(axis=0).tolist() == [4, 4, 4]


def test_attention_and_training():
    keras.utils.set_random_seed(0)
    x = keras.Input((5, 8))
    y = layers.MultiHeadAttention(2, 4)(x, x)
    model = keras.Model(x, y)
    ks.sparsify(model, ks.NofM(2, 4), verbose=False)
    model.compile("adam", "mse")
    data = np.random.default_rng(0).normal(size=(16, 5, 8))
    losses = model.fit(data, data, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    trained = model.predict(data, verbose=0)
    ks.strip(model)
    np.testing.assert_array_equal(model.predict(data, verbose=0), trained)
    kernels = [w for w in model.get_weights() if w.ndim > 2]
    assert all(np.mean(w == 0) == 0.5 for w in kernels)


@pytest.mark.parametrize(
    "settings", [{"n": 0}, {"n": 5, "m": 4}, {"n": 1.5}, {"decay": -1}]
)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="Expected.*Received"):
        ks.NofM(**settings)
