"""What XLA computes in one pass is what the operations give one by one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_sparse as ks
from keras_sparse._arithmetic import fused
from keras_sparse.pruning import masked_weights, update_masks


def halved(value, mask):
    return keras.ops.where(mask, value / 2, keras.ops.zeros_like(value))


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(fused, "_WORTH_IT", 1)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 5)).astype("float32"), rng.random((7, 5)) < 0.5


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_and_gradients(always, arrays, dtype):
    value, mask = keras.ops.cast(arrays[0], dtype), arrays[1]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(value)
        plain, found = halved(value, mask), fused.fused(halved)(value, mask)
    assert found.dtype == plain.dtype
    np.testing.assert_array_equal(found, plain)
    np.testing.assert_array_equal(
        tape.gradient(found, value), tape.gradient(plain, value)
    )


def test_a_variable_changes_in_place_and_what_was_read_does_not(always, arrays):
    value, mask = arrays
    variable = keras.Variable(value)
    read = variable.numpy()
    fused.update(variable, halved, mask)
    np.testing.assert_array_equal(variable.numpy(), halved(value, mask))
    np.testing.assert_array_equal(read, value)


def test_a_mirrored_variable(always, arrays):
    value, mask = arrays
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        variable = keras.Variable(value)
        fused.update(variable, halved, mask)
    for each in variable.value.values:
        np.testing.assert_array_equal(each, halved(value, mask))


def test_only_large_tensors_on_cpu_are_compiled(arrays, monkeypatch):
    asked = []
    monkeypatch.setattr(fused, "_compiled", lambda *each: asked.append(each))
    small = keras.ops.ones((fused._WORTH_IT - 1,))
    fused.fused(halved)(small, True)
    assert not asked
    with pytest.raises(TypeError):  # what `append` returns is not called
        fused.fused(halved)(keras.ops.ones((fused._WORTH_IT,)), True)
    assert asked == [(halved, (fused._WORTH_IT,))]


def test_builds_without_xla_do_without(always, arrays, monkeypatch):
    def refuse(function, **options):
        def call(*arguments):
            raise tf.errors.InvalidArgumentError(None, None, "no XLA")

        return call

    monkeypatch.setattr(tf, "function", refuse)
    monkeypatch.setattr(fused, "_has_xla", fused._has_xla.__wrapped__)
    value, mask = arrays
    found = fused.fused(halved)(keras.ops.convert_to_tensor(value), mask)
    np.testing.assert_array_equal(found, halved(value, mask))


def net():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(24, "relu"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((12,)), *layers])
    ks.sparsify(model, ks.Mask(), verbose=False)
    model.compile("adam", "mse")
    return model


def trained(jit_compile=False, run_eagerly=False):
    model = net()
    model.compile(
        "adam", "mse", jit_compile=jit_compile, run_eagerly=run_eagerly
    )
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(64, 12)), rng.normal(size=(64, 3))
    prune = ks.callbacks.Prune(0.8, every=2)
    model.fit(x, y, epochs=4, batch_size=8, verbose=0, callbacks=[prune])
    masks = [each.kept() for each in masked_weights(model).values()]
    assert sum(mask.sum() for mask in masks) == 72  # a fifth of 360
    return model.get_weights()


@pytest.mark.parametrize("how", [{}, {"jit_compile": True}, {"run_eagerly": 1}])
def test_pruning_ends_at_the_same_weights(how, monkeypatch):
    plain = trained(**how)
    monkeypatch.setattr(fused, "_WORTH_IT", 1)
    for expected, found in zip(plain, trained(**how), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_slots_are_zero_where_masked(always):
    model = net()
    model.fit(np.ones((8, 12)), np.ones((8, 3)), verbose=0)
    weights = masked_weights(model)
    update_masks(model, weights, 0.5)
    for weight in weights.values():
        kept = weight.kept()
        slots = [
            v for v in model.optimizer.variables if tuple(v.shape) == kept.shape
        ]
        assert len(slots) == 2
        for slot in slots:
            assert not np.any(slot.numpy()[~kept]) and np.any(slot.numpy())


@pytest.mark.parametrize("size", [8, 2**17])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_cleared_is_plus_zero_whatever_it_was(size, dtype):
    mask = ks.Mask()
    mask.build((size,))
    kept = np.arange(size) % 2 == 0
    mask.set_mask(kept)
    values = np.resize([1.5, -1, -2, np.nan, np.inf, -np.inf, -0.5, 3], size)
    variable = keras.Variable(values, dtype=dtype)
    mask.clear(variable)
    found = variable.numpy()
    np.testing.assert_array_equal(found[kept], values[kept].astype(dtype))
    assert not found[~kept].view(f"u{found.itemsize}").any()


def test_a_saved_model_computes_without_this_library(always, tmp_path):
    model = net()
    update_masks(model, masked_weights(model), 0.5)
    x = np.ones((2, 12), np.float32)
    expected = model.predict(x, verbose=0)
    model.export(tmp_path / "m", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    np.testing.assert_allclose(loaded.serve(x), expected, rtol=1e-5)
