"""Layers and callbacks that close units, on a backend; run on its own."""

import sys

import keras
import numpy as np
from keras import layers

import keras_sparse as ks

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 12)).astype("float32")
Y = RNG.integers(0, 3, 64)


def train(body, *callbacks):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12,))
    model = keras.Model(inputs, layers.Dense(3)(body(inputs)))
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = model.fit(
        X, Y, batch_size=8, epochs=5, verbose=0, callbacks=callbacks
    )
    assert np.isfinite(history.history["loss"][-1])
    return model, history.history


def units_after_shrink(model):
    small = ks.structured.shrink(model)
    np.testing.assert_allclose(
        small.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-4
    )
    return [layer.units for layer in small.layers if hasattr(layer, "units")]


def gates():
    model, _ = train(
        lambda x: ks.layers.GeneralizedDropout(0.1, 0.9, initial=0.8, seed=1)(
            layers.Dense(20, "relu")(x)
        ),
        ks.callbacks.Anneal(0, 1),
    )
    gate = model.layers[2]
    keep = keras.ops.convert_to_numpy(gate.keep)
    assert (keep != 0.8).all(), keep
    gate.threshold = float(np.sort(keep)[10] + np.sort(keep)[9]) / 2
    assert units_after_shrink(model) == [10, 3]


def tri_state():
    model, _ = train(
        lambda x: ks.layers.TriStateReLU(
            0.01, initial=0.7, initial_depth=0.45, depth_price=1.0
        )(layers.Dense(20)(x))
    )
    gate = model.layers[2]
    width = keras.ops.convert_to_numpy(gate.width)
    assert (width != 0.7).all(), width
    assert gate.channel_activation() is keras.activations.linear
    gate.width.assign(np.arange(20) % 2)
    assert units_after_shrink(model) == [3]
    gate.depth.assign(0.0)
    assert units_after_shrink(model) == [10, 3]


def group_sparsity_and_merging():
    def body(x):
        return layers.BatchNormalization()(layers.Dense(20)(x))

    for callback in (ks.callbacks.GroupLasso, ks.callbacks.NetworkSlimming):
        model, history = train(body, callback(1e-3))
        assert history["zero_units"] == [0] * 5
        merged = ks.structured.merge_neurons(model, 5, verbose=False)
        assert merged.layers[1].units == 15
        model, history = train(body, callback(50.0))
        assert history["zero_units"] == [20] * 5
        assert units_after_shrink(model) == [1, 3]


if __name__ == "__main__":
    gates()
    tri_state()
    group_sparsity_and_merging()
    print("held on", keras.backend.backend(), file=sys.stdout)
