"""From scratch, each group with a head, and what the others do meanwhile."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse.sequential.freezing import only_trainable
from keras_sparse.sequential.heads import find_head


def ending(*last, width=4):
    """A residual net that ends with the given layers."""
    x = inputs = keras.Input((width,))
    x = x + layers.Dense(width)(x)
    for layer in last:
        x = layer(x)
    return keras.Model(inputs, x)


def test_the_auxiliary_head_ends_as_the_model_does():
    for activation, *last in (
        ("linear", layers.Dense(3)),
        ("softmax", layers.Dense(3, activation="softmax")),
        ("sigmoid", layers.Dense(3), layers.Activation("sigmoid")),
        ("softmax", layers.Dense(3), layers.Softmax()),
        ("tanh", keras.Sequential([layers.Dense(3, activation="tanh")])),
    ):
        head = find_head(ending(*last), "auxiliary")
        inputs = keras.Input((5, 5, 2))
        made = keras.Model(inputs, head(inputs))
        assert made.output_shape == (None, 3)
        assert made.layers[-1].activation is keras.activations.get(activation)


def test_outputs_that_no_auxiliary_head_fits():
    for last in (
        [layers.Dense(3), layers.ReLU(max_value=6)],
        [layers.Reshape((2, 2)), layers.Dense(3)],
        [lambda x: [layers.Dense(3)(x), layers.Dense(2)(x)]],
    ):
        model = ending(*last)
        model.compile("adam", "mse")
        before = model.get_weights()
        with pytest.raises(ValueError, match="Pass head=a callable"):
            ks.sequential.sparsify_blocks(model, fit={}, head="auxiliary")
        for a, b in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(a, b)
        assert model.compiled


def test_probabilities_train_on_the_loss_that_the_model_was_given():
    keras.utils.set_random_seed(0)
    model = ending(layers.Dense(2, activation="softmax"), width=2)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    seen = []

    class Predict(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            seen.append(self.model.predict(np.ones((3, 2)), verbose=0))

    fit = {"x": np.ones((4, 2)), "y": np.zeros(4), "verbose": 0}
    ks.sequential.sparsify_blocks(
        model,
        ks.Mask(),
        fit=fit,
        head="auxiliary",
        callbacks=lambda: [Predict()],
        verbose=False,
    )
    assert len(seen) == 2
    for each in seen:
        np.testing.assert_allclose(each.sum(-1), 1.0, rtol=1e-5)
    assert not model.compiled


class Depth(layers.Layer):
    """Stochastic depth around a layer of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(0)
        self.inner = layers.Dense(6)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x, training=False):
        if not training:
            return x
        noise = keras.random.uniform((), seed=self.seeds)
        return x + noise * self.inner(x)


def noisy_net():
    x = inputs = keras.Input((4, 3))
    x = layers.LSTM(6, dropout=0.5, recurrent_dropout=0.5, name="lstm")(x)
    x = layers.GaussianNoise(1.0)(x)
    x = Depth(name="depth")(x)
    x = keras.Sequential([layers.Dropout(0.5)], name="inside")(x)
    x = layers.Dense(6, name="kept")(x)
    x = layers.Dropout(0.5, name="dropped")(x)
    return keras.Model(inputs, x)


X = np.ones((2, 4, 3), "float32")


def outputs(model, training):
    return keras.ops.convert_to_numpy(model(X, training=training))


def noise(model):
    return np.abs(outputs(model, True) - outputs(model, False)).max()


def test_frozen_layers_do_as_in_evaluation():
    model = noisy_net()
    calls = [layer.call for layer in model.layers]
    with only_trainable(model, [model.get_layer("kept")]):
        assert noise(model) == 0
        assert len(model.trainable_variables) == 2
    assert [layer.call for layer in model.layers] == calls
    assert noise(model) > 0.1


@pytest.mark.parametrize("name", ["lstm", "depth", "dropped"])
def test_layers_that_train_do_as_in_training(name):
    model = noisy_net()
    with only_trainable(model, [model.get_layer(name)]):
        assert noise(model) > 1e-3


def test_frozen_layers_do_so_in_fit():
    model = noisy_net()
    target = outputs(model, False)
    with only_trainable(model, [model.get_layer("kept")]):
        model.compile(keras.optimizers.SGD(0.0), "mse")
        logs = model.fit(X, target, epochs=2, verbose=0).history
    assert max(logs["loss"]) < 1e-10
