"""Traps 1 to 8 of the design: saving, loading, and layers built anew."""

import inspect
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_sparse as ks
from tests.trap_models import (
    Scale,
    Subclassed,
    X,
    Y,
    halve,
    predict,
    sparsified,
    subclassed,
    two_layers,
)


def test_01_subclassed_model_is_refused_by_save(tmp_path):
    model = halve(sparsified(subclassed()))
    path = tmp_path / "model.keras"
    with pytest.raises(ValueError, match="without.*subclassed/dense.*strip"):
        ks.save(model, path)
    assert not list(tmp_path.iterdir())


def test_01_subclassed_model_inside_a_functional_one_is_refused(tmp_path):
    x = keras.Input((6,))
    model = keras.Model(x, layers.Dense(2)(Subclassed()(x)))
    halve(sparsified(model))
    with pytest.raises(ValueError, match="without"):
        ks.save(model, tmp_path / "model.keras")


def test_01_training_ends_with_a_warning():
    model = sparsified(subclassed())
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="load without their parametrizations"):
        model.fit(X, Y, verbose=0, callbacks=[ks.callbacks.Prune(0.5)])


def test_01_the_weights_route_is_exact(tmp_path):
    model = halve(sparsified(subclassed()))
    model.save_weights(tmp_path / "model.weights.h5")
    again = sparsified(subclassed())
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(predict(again), predict(model))
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_01_hard_masks_are_baked_into_the_weights(tmp_path):
    model = sparsified(subclassed())
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="load without"):
        model.fit(X, Y, verbose=0, callbacks=[ks.callbacks.Prune(0.5)])
    raw = model.first.get_weights()[0]
    assert (raw == 0).mean() == 0.5


@pytest.mark.parametrize("stripped", [False, True])
def test_02_saved_model_export(stripped, tmp_path):
    model = halve(sparsified(two_layers()))
    if stripped:
        ks.strip(model)
    expected = predict(model)
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(served.serve(X), expected, atol=1e-6)


def test_03_strip_leaves_no_sublayer_tracked():
    model = two_layers()
    before = [list(each._flatten_layers()) for each in model.layers]
    keys = [set(vars(each)) for each in model.layers]
    ks.strip(sparsified(model))
    after = [list(each._flatten_layers()) for each in model.layers]
    assert after == before
    assert [set(vars(each)) for each in model.layers] == keys


@pytest.mark.parametrize("name", [n for n in dir(ks.layers) if "Sparse" in n])
def test_04_build_and_call_keep_the_plain_signature(name):
    sparse = getattr(ks.layers, name)
    if not hasattr(sparse, "plain_class"):
        return  # the mixin
    for method in ("build", "call"):
        assert inspect.signature(getattr(sparse, method)) == inspect.signature(
            getattr(sparse.plain_class, method)
        )


@pytest.mark.parametrize("parametrization", [ks.Mask(), Scale()])
def test_05_optimizer_state_loads(parametrization, tmp_path):
    x = keras.Input((4, 6))
    y = layers.MultiHeadAttention(2, 3)(x, x)
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))
    sparsified(model, parametrization)
    model.compile("adam", "mse")
    inputs = np.random.default_rng(0).normal(size=(16, 4, 6))
    model.fit(inputs, Y, verbose=0)
    ks.save(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    pairs = zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    )
    for a, b in pairs:
        assert a.path == b.path
        np.testing.assert_array_equal(a, b)
    model.fit(inputs, Y, verbose=0, shuffle=False)
    loaded.fit(inputs, Y, verbose=0, shuffle=False)
    for a, b in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_06_reloading_builds_each_parametrization_once(tmp_path):
    model = sparsified(two_layers(), Scale())
    for _, _, each in ks.parametrized(model):
        each.log_scale.assign(ops.ones_like(each.log_scale))
    ks.save(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [v.name for v in loaded.variables] == [
        v.name for v in model.variables
    ]
    for _, _, each in ks.parametrized(loaded):
        assert np.all(each.log_scale == 1)


def test_07_a_layer_that_is_not_built_is_made_anew():
    plain = layers.Dense(3, activation="relu", name="mine")
    sparse = ks.sparsify(plain, ks.Mask(keep_zeros=True))
    assert type(plain) is layers.Dense
    assert type(sparse) is ks.layers.SparseDense
    assert (sparse.name, sparse.units) == ("mine", 3)
    model = keras.Sequential([keras.Input((6,)), sparse])
    [(layer, slot, mask)] = ks.parametrized(model)
    assert (layer, slot, mask.keep_zeros) == (sparse, "kernel", True)


def test_07_a_built_layer_stays_the_same_object():
    layer = layers.Dense(3)
    layer.build((None, 6))
    assert ks.sparsify(layer, ks.Mask()) is layer
    assert type(layer) is ks.layers.SparseDense


def test_08_rule_that_matches_nothing():
    model = two_layers()
    with pytest.raises(ValueError, match="matches none of.*dense"):
        sparsified(model, where="konv")


IN_A_FRESH_PROCESS = """
    import sys
    import keras
    import numpy as np
    import keras_sparse as ks
    import layers_of_mine

    x = np.ones((2, 6), "float32")
    try:
        keras.saving.load_model("model.keras")
    except Exception as error:
        print("error", "SparseMine" in str(error))
    ks.register_adapter(layers_of_mine.Mine)
    model = keras.saving.load_model("model.keras")
    [(_, _, mask)] = ks.parametrized(model)
    print("zeros", int(np.sum(mask.mask == 0)))
    print("same", np.array_equal(model(x), np.load("expected.npy")))
"""


def test_08_subclass_of_a_known_layer(tmp_path, monkeypatch):
    (tmp_path / "layers_of_mine.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Mine(keras.layers.Dense):\n"
        "    def call(self, x):\n"
        "        return super().call(x) * 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from layers_of_mine import Mine

    model = keras.Sequential([keras.Input((6,)), Mine(4)])
    with pytest.warns(UserWarning, match="register_adapter.Mine."):
        sparsified(model)
    halve(model)
    ks.save(model, tmp_path / "model.keras")
    np.save(tmp_path / "expected.npy", model(np.ones((2, 6), "float32")))
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IN_A_FRESH_PROCESS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.stdout.split("\n")[:3] == [
        "error True",
        "zeros 12",
        "same True",
    ], result.stderr[-2000:]
