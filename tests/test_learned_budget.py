"""Learned thresholds of a whole model, to one budget."""

import warnings

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse.callbacks import budget as budget_module


def net(**settings):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(40, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(30, "relu"),
            keras.layers.Dense(10),
        ]
    )
    made = ks.LearnedThreshold(**settings)
    return ks.sparsify(model, made, verbose=False)


def fit(model, *, epochs=3, **settings):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 8, 8, 1)), rng.integers(0, 10, 64)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    callbacks = [
        ks.callbacks.Budget(**settings),
        ks.callbacks.SparsityLogger(),
    ]
    history = model.fit(
        x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=callbacks
    )
    return x, history.history


def strip(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model to compile again
        return ks.strip(model)


def zeros(model):
    return [int((w == 0).sum()) for w in model.get_weights() if w.ndim > 1]


# 1000 + 4800 + 300 weights.
@pytest.mark.parametrize("law", ["gaussian", "laplace", "auto"])
def test_final_sparsity_is_exact(law):
    model = net(law=law, budget=0.93)
    x, history = fit(model, end=16, every=5)
    trained = model.predict(x, verbose=0)
    strip(model)
    found = zeros(model)
    assert sum(found) == round(0.93 * 6100)
    assert found[2] == 0  # too small to be pruned
    assert history["sparsity"][-1] == round(0.93 * 6100) / 6100
    np.testing.assert_array_equal(model.predict(x, verbose=0), trained)


def test_macs_budget():
    model = net(budget=0.8, of="macs")
    fit(model)
    strip(model)
    # The convolution is used at 4 x 4 places.
    macs = [16 * 1000, 4800, 300]
    saved = 16 * zeros(model)[0] + zeros(model)[1]
    assert 0 <= saved - round(0.8 * sum(macs)) < 16


def test_allocation_is_learned():
    model = net(budget=0.8, rate=20.0)
    start = [p.ratio() for _, _, p in ks.parametrized(model) if p.variables]
    fit(model, epochs=6)
    end = [p.ratio() for _, _, p in ks.parametrized(model) if p.variables]
    assert start[0] == start[1]
    assert abs(end[0] - end[1]) > 1e-3


def test_loss_has_the_penalty_once():
    model = net(budget=0.8)
    fit(model, epochs=1)
    parts = [float(each) for each in model.losses]
    assert sum(part > 0 for part in parts) == 1


def test_without_the_callback_each_weight_keeps_to_the_budget():
    model = net(budget=0.8, rate=10.0, start=0.6)
    rng = np.random.default_rng(0)
    for layer, _, _ in ks.parametrized(model):
        # What the law is true for.
        layer.kernel.assign(rng.normal(0, 0.1, layer.kernel.shape))
    x, y = rng.normal(size=(64, 8, 8, 1)), rng.integers(0, 10, 64)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(x, y, epochs=80, batch_size=64, verbose=0)
    found = zeros(strip(model))
    assert found[0] / 1000 == pytest.approx(0.8, abs=0.06)
    assert found[1] / 4800 == pytest.approx(0.8, abs=0.06)


def test_budget_survives_a_reload(tmp_path):
    model = net(budget=0.9)
    x, _ = fit(model)
    trained = model.predict(x, verbose=0)
    ks.save(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), trained)
    fit(loaded)
    assert sum(zeros(strip(loaded))) == round(0.9 * 6100)


def test_level_saves_what_was_asked():
    ratios = [np.float32([1, 2, 3, 4]), np.float32([2.5, 3.5])]
    assert budget_module._level(ratios, [1, 1], 0.5) == (2.5, [2, 1])
    # Uses of 1 and 4: 2 of 12 are the two smallest of the first, 6 of 12
    # these and one of the second.
    assert budget_module._level(ratios, [1, 4], 2 / 12) == (2.0, [2, 0])
    assert budget_module._level(ratios, [1, 4], 6 / 12) == (2.5, [2, 1])
    assert budget_module._level(ratios, [1, 1], 0.0) == (0.0, [0, 0])
    # Ties: as many as asked for.
    tied = [np.float32([1, 1, 1, 2])]
    assert budget_module._level(tied, [1], 0.5) == (1.0, [2])
    # No weight is emptied: what one keeps another gives.
    assert budget_module._level(ratios, [1, 1], 0.99)[1] == [3, 1]
    low = [np.float32([1, 1.1]), np.float32([5, 6, 7, 8])]
    assert budget_module._level(low, [1, 1], 0.5) == (6.0, [1, 2])
    # Less than one weight is due.
    assert budget_module._level(ratios, [9, 9], 1 / 20) == (0.0, [0, 0])


class Watch(keras.callbacks.Callback):
    """Shares of zeros before each batch, in training and in evaluation."""

    def __init__(self):
        super().__init__()
        self.training, self.evaluation = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.training.append(sparsity(self.model, training=True))
        self.evaluation.append(sparsity(self.model, training=False))


def sparsity(model, training):
    values = [
        np.asarray(each(layer.kernel, training=training))
        for layer, _, each in ks.parametrized(model)
    ]
    return sum(np.sum(v == 0) for v in values) / sum(v.size for v in values)


def test_dense_up_to_the_begin_and_evaluated_as_it_trains():
    model, watch = net(), Watch()
    model.compile("adam", "mse")
    x, y = np.ones((64, 8, 8, 1)), np.ones((64, 10))
    budget = ks.callbacks.Budget(begin=4, end=6, every=1)
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[budget, watch])
    assert watch.training[:4] == [0.0] * 4
    assert all(each > 0.85 for each in watch.training[6:])
    np.testing.assert_allclose(watch.training, watch.evaluation, atol=1e-3)


def test_training_on_without_a_budget_is_evaluated_as_it_trains():
    model = net()
    fit(model, epochs=1)
    assert sparsity(model, training=False) == 0.9
    x, y = np.ones((64, 8, 8, 1)), np.ones((64, 10))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    model.fit(x, y, batch_size=4, verbose=0)
    assert sparsity(model, training=False) == sparsity(model, training=True)


def test_a_frozen_layer_does_not_pay_for_the_others():
    model = net(start=0.5)
    fit(model, epochs=1)
    paid = [float(each) for each in model.losses]
    model.layers[0].trainable = False
    [again] = [float(each) for each in model.losses]
    assert again == pytest.approx(max(paid)) and again > 0


def test_budget_needs_learned_thresholds_that_agree():
    model = keras.Sequential([keras.Input((40,)), keras.layers.Dense(30)])
    model.compile("sgd", "mse")
    x, y = np.zeros((4, 40)), np.zeros((4, 30))
    with pytest.raises(ValueError, match="LearnedThreshold.*sparsify"):
        model.fit(x, y, callbacks=[ks.callbacks.Budget()])
    different = iter([0.5, 0.6])
    model = keras.Sequential(
        [keras.Input((40,)), keras.layers.Dense(30), keras.layers.Dense(40)]
    )
    ks.sparsify(
        model,
        lambda layer, slot: ks.LearnedThreshold(budget=next(different)),
        verbose=False,
    )
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="one budget"):
        model.fit(x, np.zeros((4, 40)), callbacks=[ks.callbacks.Budget()])
