"""Traps 16 to 20 of the design: costs, shared weights, noise, optimizers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_sparse as ks
from tests.trap_models import (
    Noise,
    Penalised,
    X,
    Y,
    halve,
    predict,
    sparsified,
    two_layers,
)


def test_16_a_cost_counts_once_for_a_shared_layer(tmp_path):
    shared = layers.Dense(2, use_bias=False)
    a, b = keras.Input((6,)), keras.Input((6,))
    model = keras.Model([a, b], layers.Add()([shared(a), shared(b)]))
    sparsified(model, Penalised())
    model([X, X])
    model([X, X])
    assert [float(loss) for loss in model.losses] == pytest.approx([0.12])
    model.compile("sgd", "mse")
    ks.save(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded([X, X])
    assert [float(loss) for loss in loaded.losses] == pytest.approx([0.12])
    plain = loaded.evaluate([X, X], predict(loaded, [X, X]), verbose=0)
    assert plain == pytest.approx(0.12)
    with pytest.warns(UserWarning, match="compile"):
        ks.strip(loaded)
    assert loaded.losses == []


def tied():
    first, second = layers.Dense(6), layers.Dense(6)
    x = keras.Input((6,))
    model = keras.Model(x, second(first(x)))
    second._tracker.unlock()
    second._kernel = first._kernel
    second._tracker.lock()
    return model


@pytest.mark.parametrize("options", [{}, {"where": "dense$"}])
def test_17_two_layers_that_hold_one_variable(options):
    model = tied()
    with pytest.raises(ValueError, match="belong to one layer.*exclude"):
        sparsified(model, **options)
    assert [type(each) for each in model.layers[1:]] == [layers.Dense] * 2


def test_17_a_layer_without_adapter_that_holds_a_weight():
    class Tied(layers.Layer):
        def __init__(self, of):
            super().__init__()
            self.of = of

        def build(self, shape):
            self.weight = self.of.kernel

        def call(self, x):
            return ops.matmul(x, ops.transpose(self.weight))

    first = layers.Dense(4)
    x = keras.Input((6,))
    hidden = first(x)
    first_only = keras.Model(x, hidden)
    model = keras.Model(x, Tied(first)(hidden))
    with pytest.raises(ValueError, match="tied.* hold"):
        sparsified(model)
    sparsified(first_only)


def test_17_a_second_sparsify():
    model = sparsified(two_layers())
    with pytest.raises(ValueError, match="not sparse yet.*strip"):
        sparsified(model)
    assert len(list(ks.parametrized(model))) == 2


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not")
def test_17_quantize_before_strip():
    model = halve(sparsified(two_layers()))
    sparse = predict(model)
    with pytest.raises(ValueError, match="strip"):
        model.quantize("int8")
    np.testing.assert_array_equal(predict(model), sparse)
    ks.strip(model)
    model.quantize("int8")
    assert model.layers[0].kernel.dtype == "int8"
    assert (ops.convert_to_numpy(model.layers[0].kernel) == 0).mean() >= 0.5


def test_17_quantize_behind_our_back_is_noticed_by_strip():
    x = keras.Input((3, 4))
    model = keras.Model(x, layers.MultiHeadAttention(1, 4)(x, x))
    sparsified(model)
    model.layers[1]._query_dense.quantize("int8")
    with pytest.raises(ValueError, match="query.kernel.*quantize"):
        ks.strip(model)


def test_18_a_convolution_passes_training_on():
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten()]
    )
    x = np.ones((2, 6, 6, 1), "float32")
    before = predict(model, x)
    sparsified(model, Noise())
    np.testing.assert_array_equal(predict(model, x), before)
    np.testing.assert_array_equal(model(x, training=False), before)
    assert not np.allclose(model(x, training=True), before)
    model.compile("sgd", "mse")
    assert model.evaluate(x, before, verbose=0) == 0
    history = model.fit(x, before, verbose=0).history
    assert history["loss"][0] > 0


def test_19_noise_moves_on_inside_a_trained_graph():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2)])
    sparsified(model, Noise())
    model.compile(keras.optimizers.SGD(0.0), "mse")
    losses = model.fit(X, Y, epochs=4, batch_size=16, verbose=0).history["loss"]
    assert len(set(losses)) == 4


def test_20_momentum_does_not_move_masked_weights():
    model = sparsified(two_layers())
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(X, Y, epochs=3, verbose=0)
    prune = ks.callbacks.Prune(ks.schedules.OneShot(0.5, step=3))
    model.fit(X, Y, epochs=3, initial_epoch=0, verbose=0, callbacks=[prune])
    for layer, slot, each in ks.parametrized(model):
        raw = layer.__dict__["_ks_slots"][slot].raw
        masked = ops.convert_to_numpy(each.mask) == 0
        assert masked.mean() == 0.5
        assert np.all(ops.convert_to_numpy(raw)[masked] == 0)


def test_20_a_regularizer_acts_on_dormant_weights():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(2, kernel_regularizer="l2")]
    )
    sparsified(model, ks.Mask(straight_through=True))
    [(layer, _, each)] = ks.parametrized(model)
    each.set_mask(np.zeros((6, 2)))
    assert float(sum(model.losses)) > 0  # of the raw weights
    assert np.all(predict(model) == 0)
