"""Traps 9 to 15 of the design: seeds, calls, traces, frozen layers, dtypes."""

import concurrent.futures
import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_sparse as ks
from keras_sparse import _surgery
from tests.trap_models import (
    Noise,
    Scale,
    Threshold,
    X,
    Y,
    halve,
    predict,
    sparsified,
    two_layers,
)


def test_09_seed_each_epoch_sets_every_generator():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5), layers.Dropout(0.5)]
    )
    model.add(layers.Dense(2))
    sparsified(model, Noise())
    callback = ks.callbacks.SeedEachEpoch(seed=7)
    callback.set_model(model)

    def states():
        generators = [model.layers[1].seed_generator]
        generators += [p.seed_generator for _, _, p in ks.parametrized(model)]
        return np.array([ops.convert_to_numpy(g.state) for g in generators])

    callback.on_epoch_begin(3)
    third = states()
    assert len(np.unique(third, axis=0)) == 3  # each has noise of its own
    model(X, training=True)
    assert not np.array_equal(states(), third)
    callback.on_epoch_begin(4)
    assert not np.array_equal(states(), third)
    callback.on_epoch_begin(3)
    np.testing.assert_array_equal(states(), third)


# Running


@pytest.mark.parametrize("kind", ["dense", "attention", "lstm"])
def test_10_eager_calls_from_four_threads(kind):
    x = keras.Input((4, 6))
    if kind == "dense":
        y = layers.Dense(64)(layers.Dense(64)(x))
    elif kind == "attention":
        y = layers.MultiHeadAttention(2, 3)(x, x)
    else:
        y = layers.LSTM(3, unroll=True)(x)
    model = halve(sparsified(keras.Model(x, y)))
    raw = {
        (id(layer), slot): layer.__dict__["_ks_slots"][slot].raw
        for layer, slot, _ in ks.parametrized(model)
    }
    inputs = np.random.default_rng(0).normal(size=(8, 4, 4, 6))
    expected = [np.asarray(model(each)) for each in inputs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            results = pool.map(model, inputs)
            for result, wanted in zip(results, expected, strict=True):
                np.testing.assert_array_equal(result, wanted)
    for layer, slot, _ in ks.parametrized(model):
        each = layer.__dict__["_ks_slots"][slot]
        assert getattr(each.owner, each.attribute) is raw[id(layer), slot]


def test_10_a_call_that_fails_puts_the_weight_back():
    layer = sparsified(two_layers()).layers[0]
    raw = layer.kernel
    with pytest.raises(ValueError, match="shape|incompatible"):
        layer(np.ones((2, 7)))
    with pytest.raises(Exception):  # noqa: B017 - inside call
        type(layer).call(layer, ops.ones((2, 7)))
    assert layer.kernel is raw


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_10_deepcopy_and_pickle(again):
    model = halve(sparsified(two_layers()))
    other = again(model)
    np.testing.assert_array_equal(predict(other), predict(model))
    for (_, _, a), (_, _, b) in zip(
        ks.parametrized(other), ks.parametrized(model), strict=True
    ):
        assert a is not b
        a.set_mask(np.zeros(a.mask.shape))
        assert np.any(b.mask == 1)


def test_11_exchange_gives_back_what_was_there():
    class Owner:
        inherited = "of the class"

    owner = Owner()
    owner.own = "of the object"
    for name in ("own", "inherited", "missing"):
        known = dict(vars(owner))
        before = _surgery.exchange(owner, name, "exchanged")
        assert getattr(owner, name) == "exchanged"
        _surgery.restore(owner, name, before)
        assert vars(owner) == known


def test_12_traces_are_forgotten():
    model = two_layers()
    model.compile("sgd", "mse")
    dense = predict(model)
    loss = model.evaluate(X, Y, verbose=0)
    halve(sparsified(model))
    assert not np.array_equal(predict(model), dense)
    assert model.evaluate(X, Y, verbose=0) != loss
    sparse = predict(model)
    ks.strip(model)
    np.testing.assert_array_equal(predict(model), sparse)


def test_12_inner_model_of_a_traced_one():
    inner = two_layers()
    x = keras.Input((6,))
    outer = keras.Model(x, layers.Dense(2)(inner(x)))
    dense = predict(outer)
    halve(sparsified(inner))
    outer.make_predict_function(force=True)
    assert not np.array_equal(predict(outer), dense)


def test_12_new_trainable_variables_need_compile():
    model = two_layers()
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="model.compile.*again"):
        sparsified(model, Scale())
    with pytest.raises(ValueError, match="compile"):
        model.fit(X, Y, verbose=0)
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    with pytest.warns(UserWarning, match="model.compile.*again"):
        ks.strip(model)


def test_12_masks_need_no_compile():
    model = two_layers()
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    optimizer = model.optimizer
    sparsified(model).fit(X, Y, verbose=0)
    ks.strip(model).fit(X, Y, verbose=0)
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 3


def test_13_a_frozen_layer_has_no_trainable_parametrization():
    model = two_layers()
    model.layers[0].trainable = False
    sparsified(model, Scale())
    first, second = (each for _, _, each in ks.parametrized(model))
    assert not first.log_scale.trainable
    assert second.log_scale.trainable
    # kernel and bias of the second layer, and its scale
    assert len(model.trainable_variables) == 3


def test_13_a_frozen_weight_below_the_layer():
    attention = layers.MultiHeadAttention(1, 2)
    attention.build((None, 3, 4), (None, 3, 4))
    attention._query_dense.trainable = False
    sparsified(attention, Scale())
    trainable = {
        slot: bool(each.trainable_variables)
        for _, slot, each in ks.parametrized(attention)
    }
    assert trainable.pop("query.kernel") is False
    assert all(trainable.values())


def test_13_parametrizations_follow_when_trainable_is_toggled(tmp_path):
    model = sparsified(two_layers(), Scale())
    [first, _] = (each for _, _, each in ks.parametrized(model))
    model.layers[0].trainable = False
    assert not first.trainable_variables
    ks.save(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not next(ks.parametrized(loaded))[2].trainable_variables
    model.layers[0].trainable = True
    assert first.trainable_variables


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_14_a_threshold_sees_the_weight_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = two_layers()
    finally:
        keras.config.set_dtype_policy("float32")
    kernel = model.layers[0].kernel
    # In bfloat16 the first of these and the threshold are both 1.
    values = np.where(np.arange(30).reshape(6, 5) % 2, 1.0, 1 + 2**-10)
    kernel.assign(values)
    sparsified(model, Threshold(), where="dense$")
    sparse = predict(model)
    [(_, _, each)] = ks.parametrized(model)
    assert each.compute_dtype == "float32"
    ks.strip(model)
    np.testing.assert_array_equal(predict(model), sparse)
    stored = ops.convert_to_numpy(ops.cast(kernel, "float32"))
    kept = 0 if policy == "bfloat16" else 15  # it cannot store 1 + 2**-10
    assert (stored != 0).sum() == kept


def test_14_variables_of_a_parametrization_are_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = two_layers()
        sparsified(model, Scale())
        seen = []
        [first, _] = (each for _, _, each in ks.parametrized(model))
        first.call = lambda w, training=None: (
            seen.append((w.dtype, ops.exp(first.log_scale).dtype)) or w
        )
        model(X)
    finally:
        keras.config.set_dtype_policy("float32")
    assert seen == [(tf.float32, tf.float32)]


@pytest.mark.parametrize(
    "parametrization",
    [
        ks.Mask(),
        ks.Mask(straight_through=True),
        ks.Parametrization(),
        Scale(),
        Noise(),
        Threshold(),
    ],
)
def test_15_finalize_is_call_without_training(parametrization):
    each = parametrization.copy()
    each.build((30, 20))
    rng = np.random.default_rng(0)
    w = ops.convert_to_tensor(rng.normal(size=(30, 20)).astype("float32"))
    if isinstance(each, ks.Mask):
        each.set_mask(rng.random((30, 20)) > 0.5)
    np.testing.assert_array_equal(each.finalize(w), each(w, training=False))
