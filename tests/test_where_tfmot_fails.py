"""What pruning with tensorflow-model-optimization gets wrong."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_sparse as ks

RNG = np.random.default_rng(0)


X = RNG.normal(size=(40, 6)).astype("float32")


Y = RNG.normal(size=(40, 2)).astype("float32")


def net():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(10, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(2),
        ]
    )


def fresh(build=net):
    """The same model at each call, weights and seeds included."""
    keras.utils.set_random_seed(1)
    return build()


def sparsified(model, **options):
    mask = ks.Mask(**options)
    return ks.sparsify(model, mask, verbose=False)


def fit(model, *callbacks, epochs=3, **options):
    """Ten steps an epoch."""
    options = {"batch_size": 4, "shuffle": False, "verbose": 0} | options
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **options)


def sparsities(model):
    """The measured share of zeros in the masks, by weight."""
    return [
        float(np.mean(ops.convert_to_numpy(each.mask) == 0))
        for _, _, each in ks.parametrized(model)
    ]


def assert_same_weights(a, b):
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_target_of_zero_trains_bit_equal_to_an_unpruned_model(optimizer):
    plain = fresh()
    plain.compile(optimizer, "mse")
    expected = fit(plain)
    model = sparsified(fresh())
    model.compile(optimizer, "mse")
    history = fit(model, ks.callbacks.Prune(0.0, every=5))
    assert history.history == expected.history
    assert_same_weights(ks.strip(model), plain)


def test_predictions_are_identical_right_after_sparsify():
    model = fresh()
    before = model.predict(X, verbose=0)
    sparsified(model)
    np.testing.assert_array_equal(model.predict(X, verbose=0), before)


def test_the_stripped_config_equals_the_original():
    model = fresh()
    model.compile("adam", "mse")
    config, compiled = model.get_config(), model.get_compile_config()
    fit(sparsified(model), ks.callbacks.Prune(0.5))
    ks.strip(model)
    assert model.get_config() == config
    assert model.get_compile_config() == compiled


class Witness(keras.callbacks.Callback):
    """Notes the sparsity at each batch end, and saves now and then."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.optimizer.iterations) - 1  # that just ended
        self.seen.append((step, sparsities(self.model)))
        if step in (4, 13, 22):
            ks.save(self.model, self.folder / f"{step}.keras")


def test_a_callback_listed_before_prune_sees_the_right_sparsity(tmp_path):
    schedule = ks.schedules.Polynomial(final=0.8, begin=2, end=25)
    model = sparsified(fresh())
    model.compile("adam", "mse")
    witness = Witness(tmp_path)
    fit(model, witness, ks.callbacks.Prune(schedule, every=1))
    assert [step for step, _ in witness.seen] == list(range(30))
    for step, seen in witness.seen:
        expected = [round(schedule(step) * n) / n for n in (60, 20)]
        assert seen == expected, step

    # Every checkpoint in the middle of an epoch is sparse, also stripped.
    for step in (4, 13, 22):
        loaded = keras.saving.load_model(tmp_path / f"{step}.keras")
        assert sparsities(loaded) == dict(witness.seen)[step]
        ks.strip(loaded)
        for layer, n in ((loaded.layers[0], 60), (loaded.layers[2], 20)):
            zeros = int((layer.get_weights()[0] == 0).sum())
            assert zeros == round(schedule(step) * n)


def test_fine_tuning_after_finalising_keeps_the_mask():
    model = ks.prune(fresh(), 0.7)
    zeros = [w == 0 for w in model.get_weights()]
    sparsified(model, keep_zeros=True)
    model.compile(keras.optimizers.Adam(0.1), "mse")
    before = model.layers[0].get_weights()[0].copy()
    fit(model)
    ks.strip(model)
    assert not np.allclose(model.layers[0].get_weights()[0], before)
    kernel = model.layers[0].get_weights()[0]
    np.testing.assert_array_equal(kernel == 0, zeros[0])
    assert zeros[0].sum() == 42


def test_a_short_run_still_prunes():
    schedule = ks.schedules.Polynomial(final=0.8, begin=0, end=30)
    model = sparsified(fresh())
    model.compile("adam", "mse")
    prune = ks.callbacks.Prune(schedule)
    assert prune.every == 100
    logger = ks.callbacks.SparsityLogger()
    history = fit(model, prune, logger).history
    assert history["sparsity"][0] > 0.3
    assert history["sparsity"][-1] == 0.8
    assert sparsities(ks.strip(model)) == []
    assert (model.layers[0].get_weights()[0] == 0).mean() == 0.8


def test_unknown_layers_are_skipped_and_named_once(capsys):
    class Mystery(layers.Layer):
        def build(self, shape):
            self.gain = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.gain

    model = keras.Sequential(
        [keras.Input((6,)), Mystery(), layers.Dense(2), Mystery()]
    )
    model.add(layers.LayerNormalization())
    keras.utils.enable_interactive_logging()
    ks.sparsify(model, ks.Mask())
    line = capsys.readouterr().out
    assert line == (
        "sparsify: Mask on 1 weights of 1 layers (12 parameters); "
        "left as they are: 2 Mystery, LayerNormalization\n"
    )
    model.compile("sgd", "mse")
    fit(model, ks.callbacks.Prune(0.5))
    assert sparsities(model) == [0.5]


class Block(layers.Layer):
    """A user's composite layer, with a list and a dictionary of layers."""

    def __init__(self):
        super().__init__()
        self.paths = [layers.Dense(6), layers.Dense(6)]
        self.named = {"gate": layers.Dense(6)}

    def call(self, x):
        return x + self.paths[0](x) * self.named["gate"](self.paths[1](x))


class WithAdapter(layers.Dense):
    """A dense layer that holds another one."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.low = layers.Dense(2, use_bias=False)
        self.high = layers.Dense(units, use_bias=False)

    def call(self, x):
        return super().call(x) + self.high(self.low(x))


ks.register_adapter(WithAdapter)


class Whole(keras.Model):
    """Subclassed, with models and composite layers in it."""

    def __init__(self):
        super().__init__()
        self.block = Block()
        self.inner = keras.Sequential(
            [layers.Dense(6), keras.Sequential([layers.Dense(6)])]
        )
        self.attention = layers.MultiHeadAttention(2, 3)
        self.wrapped = layers.TimeDistributed(layers.Dense(4))
        self.recurrent = layers.Bidirectional(layers.LSTM(3))
        self.adapted = WithAdapter(4)
        self.head = layers.Dense(2)

    def call(self, x):
        x = self.inner(self.block(x))
        x = self.wrapped(self.attention(x, x))
        return self.head(self.adapted(self.recurrent(x)))


def test_all_kernels_of_subclassed_and_nested_models_are_pruned():
    model = Whole()
    model(np.ones((1, 3, 6)))
    kernels = [v for v in model.weights if "kernel" in v.name]
    assert len(kernels) == 18
    ks.prune(model, 0.5)
    for kernel in kernels:
        share = (ops.convert_to_numpy(kernel) == 0).mean()
        assert share == pytest.approx(0.5, abs=0.1), kernel.path
    assert not any(
        (ops.convert_to_numpy(v) == 0).all()
        for v in model.weights
        if "kernel" in v.name
    )


def conv_net():
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3),
            layers.Conv2D(8, 3, groups=2),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def at_most_two_of_four(kernel):
    columns = kernel.reshape(-1, kernel.shape[-1])
    groups = [columns[i : i + 4] for i in range(0, len(columns), 4)]
    return all((group != 0).sum(0).max() <= 2 for group in groups)


def test_n_m_survives_a_reload(tmp_path):
    def prune():
        return ks.callbacks.Prune(0.5, every=2, pattern=ks.patterns.n_m(2, 4))

    x = RNG.normal(size=(16, 6, 6, 3))
    y = RNG.normal(size=(16, 2))
    model = sparsified(fresh(conv_net))
    model.compile("adam", "mse")
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[prune()])
    ks.save(model, tmp_path / "model.keras")

    # Without Prune the masks hold; with it they move within the pattern.
    for callbacks in ([], [prune()]):
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        before = [
            ops.convert_to_numpy(each.mask)
            for _, _, each in ks.parametrized(loaded)
        ]
        loaded.fit(x, y, batch_size=4, verbose=0, callbacks=callbacks)
        after = [
            ops.convert_to_numpy(each.mask)
            for _, _, each in ks.parametrized(loaded)
        ]
        if not callbacks:
            for a, b in zip(after, before, strict=True):
                np.testing.assert_array_equal(a, b)
        ks.strip(loaded)
        kernels = [w for w in loaded.get_weights() if w.ndim > 1]
        assert len(kernels) == 3
        assert all(at_most_two_of_four(kernel) for kernel in kernels)
