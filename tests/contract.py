"""What every parametrization has to do on every layer type.

`LAYERS` builds a small model around each layer that has an adapter;
`check_contract` runs one of them through the life of a sparse model.
"""

import warnings

import keras
import numpy as np
from keras import layers

import keras_sparse as ks


def _sequence():
    return keras.Input((4, 6))


def _image():
    return keras.Input((6, 6, 4))


def _one(layer, make_input):
    def build():
        x = make_input()
        return keras.Model(x, layer()(x))

    return build


def _ids(layer):
    def build():
        x = keras.Input((5,), dtype="int32")
        return keras.Model(x, layer()(x))

    return build


def _tied():
    x = keras.Input((5,), dtype="int32")
    embedding = layers.ReversibleEmbedding(7, 3, tie_weights=False)
    return keras.Model(x, embedding(embedding(x), reverse=True))


def _self_attention(layer):
    def build():
        x = _sequence()
        return keras.Model(x, layer()(x, x))

    return build


def _cells():
    x = _sequence()
    cells = [layers.LSTMCell(3), layers.GRUCell(3), layers.SimpleRNNCell(3)]
    return keras.Model(x, layers.RNN(cells)(x))


def _shared():
    shared = layers.Dense(3)
    a, b = keras.Input((6,)), keras.Input((6,))
    return keras.Model([a, b], layers.Add()([shared(a), shared(b)]))


def _nested():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(5)])
    x = keras.Input((6,))
    return keras.Model(x, layers.Dense(2)(inner(x)))


class MyDense(layers.Dense):
    """A user's own subclass."""

    def call(self, inputs, training=None):
        return super().call(inputs) * 2


ks.register_adapter(MyDense)

LAYERS = {
    "Dense": _one(lambda: layers.Dense(3, activation="relu"), _sequence),
    "EinsumDense": _one(
        lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3)), _sequence
    ),
    "Embedding": _ids(lambda: layers.Embedding(7, 3)),
    "Conv1D": _one(lambda: layers.Conv1D(3, 3, padding="causal"), _sequence),
    "Conv2D": _one(lambda: layers.Conv2D(4, 3, groups=2), _image),
    "Conv3D": _one(
        lambda: layers.Conv3D(2, 2), lambda: keras.Input((3, 3, 3, 2))
    ),
    "Conv1DTranspose": _one(
        lambda: layers.Conv1DTranspose(3, 3, strides=2), _sequence
    ),
    "Conv2DTranspose": _one(lambda: layers.Conv2DTranspose(3, 3), _image),
    "Conv3DTranspose": _one(
        lambda: layers.Conv3DTranspose(2, 2), lambda: keras.Input((3, 3, 3, 2))
    ),
    "DepthwiseConv1D": _one(lambda: layers.DepthwiseConv1D(3), _sequence),
    "DepthwiseConv2D": _one(
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), _image
    ),
    "SeparableConv1D": _one(lambda: layers.SeparableConv1D(3, 3), _sequence),
    "SeparableConv2D": _one(lambda: layers.SeparableConv2D(3, 3), _image),
    "SimpleRNN": _one(lambda: layers.SimpleRNN(3), _sequence),
    "LSTM": _one(lambda: layers.LSTM(3, return_sequences=True), _sequence),
    "GRU": _one(lambda: layers.GRU(3), _sequence),
    "RNN of cells": _cells,
    "ConvLSTM1D": _one(
        lambda: layers.ConvLSTM1D(2, 2), lambda: keras.Input((3, 5, 2))
    ),
    "ConvLSTM2D": _one(
        lambda: layers.ConvLSTM2D(2, 2), lambda: keras.Input((3, 4, 4, 2))
    ),
    "ConvLSTM3D": _one(
        lambda: layers.ConvLSTM3D(2, 2), lambda: keras.Input((2, 3, 3, 3, 2))
    ),
    "MultiHeadAttention": _self_attention(
        lambda: layers.MultiHeadAttention(2, 3)
    ),
    "GroupQueryAttention": _self_attention(
        lambda: layers.GroupQueryAttention(3, 4, 2)
    ),
    "ReversibleEmbedding": _tied,
    "Bidirectional": _one(
        lambda: layers.Bidirectional(layers.LSTM(3)), _sequence
    ),
    "TimeDistributed": _one(
        lambda: layers.TimeDistributed(layers.Dense(3)), _sequence
    ),
    "SpectralNormalization": _one(
        lambda: layers.SpectralNormalization(layers.Dense(3)), _sequence
    ),
    "shared layer": _shared,
    "nested model": _nested,
    "user's subclass": _one(lambda: MyDense(3), _sequence),
}


def inputs_of(model, batch=4, seed=0):
    """Random inputs of a model: floats, or ids below 7."""
    rng = np.random.default_rng(seed)
    arrays = [
        rng.integers(0, 7, (batch, *x.shape[1:]))
        if x.dtype.startswith("int")
        else rng.normal(size=(batch, *x.shape[1:])).astype("float32")
        for x in model.inputs
    ]
    return arrays if len(arrays) > 1 else arrays[0]


def predict(model, x):
    return np.asarray(model.predict(x, verbose=0), "float32")


def check_contract(build, parametrization, change, tmp_path, exact=True):
    """Runs a model from `sparsify` to `strip`.

    Args:
        build: Makes the model.
        parametrization: Goes on every weight.
        change: Called with each attached parametrization and a generator, to
            move it away from its initial state.
        tmp_path: Folder for the saved model.
        exact: Whether attaching must leave predictions as they were.
    """
    keras.utils.set_random_seed(1)
    model = build()
    x = inputs_of(model)
    config, variables = model.get_config(), list(model.variables)
    before = predict(model, x)

    assert ks.sparsify(model, parametrization, verbose=False) is model
    attached = list(ks.parametrized(model))
    assert attached
    if exact:
        np.testing.assert_array_equal(predict(model, x), before)

    rng = np.random.default_rng(2)
    for _, _, each in attached:
        change(each, rng)
    changed = predict(model, x)
    assert np.isfinite(changed).all()
    assert not np.array_equal(changed, before)

    # A reloaded model predicts the same and can be stripped to the same.
    path = str(tmp_path / "model.keras")
    ks.save(model, path)
    loaded = keras.saving.load_model(path)
    np.testing.assert_array_equal(predict(loaded, x), changed)
    assert len(list(ks.parametrized(loaded))) == len(attached)

    # Training moves weights and keeps the model sparse.
    loaded.compile("sgd", "mse")
    loaded.fit(x, np.zeros_like(changed), verbose=0)
    sparse = predict(loaded, x)
    with warnings.catch_warnings():  # where strip takes trained variables away
        warnings.filterwarnings("ignore", ".*compile.*again")
        ks.strip(loaded)
    np.testing.assert_allclose(predict(loaded, x), sparse, atol=1e-6)

    # Stripping is exact and leaves the model as it was made.
    assert ks.strip(model) is model
    np.testing.assert_array_equal(predict(model, x), changed)
    assert model.get_config() == config
    assert [id(v) for v in model.variables] == [id(v) for v in variables]
    assert not list(ks.parametrized(model))
    return model
