"""Graphs in which a channel is read in a way that is easy to miss."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks


def gap(model, seed=0):
    """How far an exact shrink moves the outputs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4, *model.inputs[0].shape[1:])).astype("float32")
    small = ks.structured.shrink(model)
    difference = model.predict(x, verbose=0) - small.predict(x, verbose=0)
    return float(np.abs(difference).max())


def dueling(i):
    h = layers.Dense(16, "relu")(i)
    value = layers.Dense(1)(layers.Dense(8, "relu")(h))
    return value + layers.Dense(4)(layers.Dense(8, "relu")(h))


def scalar_gate(i):
    gate = layers.Dense(1, "sigmoid")(layers.Dense(8, "relu")(i))
    return layers.Multiply()([layers.Dense(6)(i), gate])


def two_scalars(i):
    return layers.Add()([layers.Dense(1)(i), layers.Dense(1)(i)])


@pytest.mark.parametrize("build", [dueling, scalar_gate, two_scalars])
def test_a_channel_that_is_repeated_is_read(build):
    keras.utils.set_random_seed(0)
    i = keras.Input((5,))
    assert gap(keras.Model(i, build(i))) < 1e-5


@keras.saving.register_keras_serializable("tests")
def across(x):
    return keras.ops.softmax(x)


@pytest.mark.parametrize("activation", ["softmax", across, layers.Softmax()])
def test_activations_across_channels_are_no_constants(activation):
    keras.utils.set_random_seed(0)
    i = keras.Input((5,))
    first = layers.Dense(4, activation)
    second = layers.Dense(3, "relu")
    model = keras.Model(i, layers.Dense(2)(second(first(i))))
    kernel = first.kernel.numpy()
    kernel[:, 0] = 0
    first.kernel.assign(kernel)
    kernel = second.kernel.numpy()
    kernel[1:, 0] = 0  # reads the first channel only
    second.kernel.assign(kernel)
    assert gap(model) < 1e-5


@keras.saving.register_keras_serializable("tests")
class Unknown(layers.Layer):
    """What nobody can follow."""

    def call(self, x):
        return keras.ops.flip(x, axis=-1)


@pytest.mark.parametrize(
    "after",
    [
        layers.ReLU(),
        layers.Dropout(0.5),
        layers.Activation("tanh"),
        layers.GlobalAveragePooling2D(),
        layers.Rescaling([1.0, 2.0, 3.0, 4.0]),
    ],
    ids=lambda layer: layer.name,
)
def test_behind_a_layer_that_cannot_be_followed(after):
    keras.utils.set_random_seed(0)
    i = keras.Input((6, 6, 2))
    x = after(Unknown()(layers.Conv2D(4, 3)(i)))
    model = keras.Model(i, layers.Dense(2)(layers.Flatten()(x)))
    assert gap(model) < 1e-5


def test_batch_normalization_of_another_axis():
    keras.utils.set_random_seed(0)
    i = keras.Input((8, 8, 2))
    norm = layers.BatchNormalization(axis=1)
    conv = layers.Conv2D(6, 3)
    x = norm(conv(i))
    model = keras.Model(i, layers.Dense(2)(layers.Flatten()(x)))
    kernel = conv.kernel.numpy()
    kernel[..., 0] = 0
    conv.kernel.assign(kernel)
    norm.beta.assign(np.arange(6.0))
    assert gap(model) < 1e-4


def test_units_behind_a_mask_can_be_cut():
    i = keras.Input((5,), dtype="int32")
    x = layers.LSTM(8)(layers.Embedding(7, 6, mask_zero=True)(i))
    model = keras.Model(i, layers.Dense(2)(x))
    small = ks.structured.shrink(model, 0.5)
    assert small.layers[-2].units < 8


def test_what_would_be_lost_is_refused():
    i = keras.Input((3,))
    layer = layers.Discretization(num_bins=4)
    layer.adapt(np.arange(12.0))
    x = layers.Dense(4, "relu")(keras.ops.cast(layer(i), "float32"))
    model = keras.Model(i, layers.Dense(2)(x))
    with pytest.raises(ValueError, match="in front again"):
        ks.structured.shrink(model)


def test_arguments_that_would_be_ignored():
    i = keras.Input((3,))
    model = keras.Model(i, layers.Dense(2)(layers.Dense(4)(i)))
    with pytest.raises(ValueError, match="`remove`"):
        ks.structured.shrink(model, of="macs")
