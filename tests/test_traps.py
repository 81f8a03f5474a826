"""One test for each numbered trap of the design."""

import concurrent.futures
import copy
import inspect
import pickle
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_sparse as ks
from keras_sparse import _surgery


@keras.saving.register_keras_serializable("tests")
class Scale(ks.Parametrization):
    """A weight times the exponential of a trainable one."""

    def build(self, shape):
        self.log_scale = self.add_weight(
            name="log_scale", shape=shape, initializer="zeros"
        )

    def call(self, w, training=None):
        return w * ops.exp(self.log_scale)


@keras.saving.register_keras_serializable("tests")
class Noise(ks.Parametrization):
    """Noise on the weight while training."""

    def build(self, shape):
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, w, training=None):
        if not training:
            return w
        noise = keras.random.normal(ops.shape(w), seed=self.seed_generator)
        return w + noise


@keras.saving.register_keras_serializable("tests")
class Penalised(Scale):
    """Scale with a cost that hangs on its variable."""

    def build(self, shape):
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=shape,
            initializer="ones",
            regularizer=keras.regularizers.L1(),
        )


@keras.saving.register_keras_serializable("tests")
class Threshold(ks.Parametrization):
    """Zero below a threshold that bfloat16 cannot express."""

    at = 1 + 2**-12

    def call(self, w, training=None):
        return ops.where(ops.abs(w) >= self.at, w, ops.zeros_like(w))


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """A model that rebuilds its layers itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(5, activation="relu")
        self.second = layers.Dense(2)

    def call(self, x):
        return self.second(self.first(x))


X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def two_layers():
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation="relu"), layers.Dense(2)]
    )


def sparsified(model, parametrization=None, **options):
    return ks.sparsify(
        model, parametrization or ks.Mask(), verbose=False, **options
    )


def halve(model):
    """Sets every mask to a checkerboard."""
    for _, _, each in ks.parametrized(model):
        size = int(np.prod(each.mask.shape))
        each.set_mask((np.arange(size) % 2).reshape(each.mask.shape))
    return model


def predict(model, x=X):
    return model.predict(x, verbose=0)


def subclassed():
    model = Subclassed()
    model(X)
    return model


# Saving and reloading


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
