"""Feather by hand: values, gradients, thresholds, exact sparsity."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_sparse as ks

# |w| / T of the paper's figure, and what is left of it.
RATIOS = [1.05, 1.2, 2.0, 5.0]
LEFT = [0.54, 0.90, 1.91, 4.99]


def feather(shape, threshold, **settings):
    made = ks.Feather(**settings)
    made.build(shape)
    made.set_threshold(threshold)
    return made


def gradient(made, w, upstream):
    """Gradient of sum(upstream * value) with respect to w."""
    import tensorflow as tf

    w = tf.constant(w)
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = ops.sum(ops.convert_to_tensor(upstream) * made(w, training=True))
    return tape.gradient(loss, w).numpy()


@pytest.mark.parametrize("threshold", [1.0, 0.02, 1e-20])
@pytest.mark.parametrize("sign", [1, -1])
def test_values_of_the_paper(threshold, sign):
    made = feather((4,), threshold)
    w = np.float32(sign * threshold * np.array(RATIOS))
    value = ops.convert_to_numpy(made(w))
    np.testing.assert_allclose(sign * value / threshold, LEFT, atol=0.005)


@pytest.mark.parametrize("p", [1, 2, 3, 3.5])
def test_formula_in_double_precision(p):
    w = np.random.default_rng(0).normal(size=1000).astype("float32")
    made = feather((1000,), 0.3, p=p)
    size = np.abs(w.astype("float64"))
    threshold = float(np.float32(0.3))
    rest = np.maximum(size**p - threshold**p, 0) ** (1 / p)
    np.testing.assert_allclose(
        ops.convert_to_numpy(made(w)), np.sign(w) * rest, atol=5e-5
    )


@pytest.mark.parametrize("p", [1, 3, 4])
@pytest.mark.parametrize("threshold", [1.0, 0.7, 0.0123, 3e-7])
def test_next_float_above_the_threshold_is_not_zero(p, threshold):
    threshold = np.float32(threshold)
    made = feather((2,), float(threshold), p=p)
    value = made(np.array([threshold, np.nextafter(threshold, np.float32(9))]))
    value = ops.convert_to_numpy(value)
    assert value[0] == 0 and value[1] > 0


def test_no_threshold_changes_nothing():
    w = np.float32([0.0, -0.0, 2e-38, -3.0, 1e30])
    made = feather((5,), 0.0)
    np.testing.assert_array_equal(ops.convert_to_numpy(made(w)), w)
    training = ops.convert_to_numpy(made(w, training=True))
    np.testing.assert_array_equal(training, w)


def test_training_and_evaluation_see_the_same_values():
    w = np.random.default_rng(0).normal(size=1000).astype("float32")
    made = feather((1000,), 0.5, theta=0.3)
    training = ops.convert_to_numpy(made(w, training=True))
    value = ops.convert_to_numpy(made(w, training=False))
    np.testing.assert_allclose(training, value, rtol=1e-5)
    np.testing.assert_array_equal(training == 0, value == 0)


def test_gradient_passes_and_theta_scales_it_where_pruned():
    w = np.float32([-2.0, -0.5, 0.5, 1.0, 1.01])
    upstream = np.float32([1.0, 2.0, -3.0, 4.0, 5.0])
    made = feather((5,), 1.0, theta=0.5)
    expected = [1.0, 1.0, -1.5, 2.0, 5.0]
    np.testing.assert_array_equal(gradient(made, w, upstream), expected)
    made = feather((5,), 1.0)
    np.testing.assert_array_equal(gradient(made, w, upstream), upstream)


@pytest.mark.parametrize(
    "theta, final, share",
    [(None, 0.95, 1.0), (None, 0.96, 0.5), (0.2, 0.5, 0.2), (0.2, 0.99, 0.2)],
)
def test_theta_follows_the_final_sparsity(theta, final, share):
    made = ks.Feather(theta=theta)
    made.build((1,))
    made.set_threshold(0.1, final=final)
    assert float(made.share) == pytest.approx(share)


@pytest.mark.parametrize("settings", [{"p": 0.5}, {"theta": 1.5}])
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="Expected.*Received"):
        ks.Feather(**settings)


def net(width=20):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.Dense(width, "relu"),
            keras.layers.Dense(10),
        ]
    )


def fit(model, schedule, epochs=3, **settings):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 30)), rng.integers(0, 10, 64)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    callbacks = [
        ks.callbacks.Threshold(schedule, **settings),
        ks.callbacks.SparsityLogger(),
    ]
    history = model.fit(
        x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=callbacks
    )
    return x, history.history


def zeros(model):
    return [int((w == 0).sum()) for w in model.get_weights() if w.ndim > 1]


def test_final_sparsity_is_exact_and_baked_weights_predict_the_same():
    model = ks.sparsify(net(), ks.Feather(), verbose=False)
    x, history = fit(model, ks.schedules.Polynomial(0.93, 0, 12), every=5)
    trained = model.predict(x, verbose=0)
    ks.strip(model)
    assert sum(zeros(model)) == round(0.93 * 800)
    assert history["sparsity"][-1] == round(0.93 * 800) / 800
    np.testing.assert_array_equal(model.predict(x, verbose=0), trained)


def test_every_epoch_ends_at_the_scheduled_sparsity():
    model = ks.sparsify(net(), ks.Feather(), verbose=False)
    schedule = ks.schedules.Polynomial(0.9, 0, 20)
    _, history = fit(model, schedule, epochs=3, every=7)
    # 8 steps an epoch.
    expected = [round(800 * schedule(step)) / 800 for step in (8, 16, 24)]
    assert history["sparsity"] == expected


def test_erdos_renyi_keeps_its_densities():
    model = ks.sparsify(net(), ks.Feather(), verbose=False)
    fit(model, 0.8, allocation=ks.allocations.erdos_renyi)
    # Densities in proportion to (30 + 20) / 600 and (20 + 10) / 200; the
    # scale c solves c (50 + 30) = .2 * 800.
    assert zeros(ks.strip(model)) == [600 - 100, 200 - 60]


def test_uniform_and_map():
    model = ks.sparsify(net(), ks.Feather(), verbose=False)
    fit(model, 0.8, allocation=ks.allocations.uniform)
    assert zeros(ks.strip(model)) == [480, 160]
    model = ks.sparsify(net(), ks.Feather(), verbose=False)
    fit(model, 0.8, allocation={paths(model)[1]: 0.5})
    assert zeros(ks.strip(model)) == [480, 100]


def paths(model):
    return [f"{layer.path}/{slot}" for layer, slot, _ in ks.parametrized(model)]


def test_equal_weights_are_parted():
    model = ks.sparsify(net(), ks.Feather(), verbose=False)
    for variable in model.trainable_variables:
        variable.assign(ops.full(variable.shape, -0.25))
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 0.0
    threshold = ks.callbacks.Threshold(0.75)
    x = np.zeros((8, 30))
    model.fit(x, np.zeros((8, 10)), verbose=0, callbacks=[threshold])
    trained = model.predict(x, verbose=0)
    ks.strip(model)
    assert sum(zeros(model)) == 600
    np.testing.assert_array_equal(model.predict(x, verbose=0), trained)


def test_pruned_weights_come_back():
    model = ks.sparsify(net(), ks.Feather(), verbose=False)
    before = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            for _, _, each in ks.parametrized(model):
                w = ops.convert_to_numpy(each.raw)
                before.append(np.abs(w) > float(each.threshold))

    x, y = np.random.default_rng(0).normal(size=(2, 64, 30))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    model.fit(
        x,
        y[:, :10],
        batch_size=8,
        epochs=2,
        verbose=0,
        callbacks=[ks.callbacks.Threshold(0.8, every=1), Watch()],
    )
    first, _, last, _ = before
    assert (last & ~first).any()


def test_threshold_needs_a_feather():
    model = ks.sparsify(net(), ks.Mask(), verbose=False)
    with pytest.raises(ValueError, match="Feather.*sparsify"):
        fit(model, 0.5)


def test_a_resumed_run_repeats_to_the_bit(tmp_path):
    schedule = ks.schedules.Polynomial(0.9, 0, 20)
    x, y = np.random.default_rng(0).normal(size=(2, 64, 30))

    def train(model, first, last):
        model.fit(
            x,
            y[:, :10],
            batch_size=8,
            initial_epoch=first,
            epochs=last,
            shuffle=False,
            verbose=0,
            callbacks=[ks.callbacks.Threshold(schedule, every=3)],
        )

    whole = ks.sparsify(net(), ks.Feather(), verbose=False)
    whole.compile("adam", "mse")
    train(whole, 0, 3)
    part = ks.sparsify(net(), ks.Feather(), verbose=False)
    part.compile("adam", "mse")
    # The end of the schedule is not reached yet, which is told.
    with pytest.warns(UserWarning, match="before the schedule's end"):
        train(part, 0, 2)
    ks.save(part, tmp_path / "part.keras")
    resumed = keras.saving.load_model(tmp_path / "part.keras")
    train(resumed, 2, 3)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_ties_are_parted_in_the_floats_of_the_weight(dtype):
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(40, dtype=dtype)
    model = keras.Sequential([keras.Input((50,), dtype=dtype), layer])
    ks.sparsify(model, ks.Feather(), verbose=False)
    model.compile("sgd", "mse")
    x, y = np.ones((8, 50)), np.ones((8, 40))
    threshold = ks.callbacks.Threshold(ks.schedules.Constant(0.9))
    model.fit(x, y, verbose=0, callbacks=[threshold])
    kernel = keras.ops.cast(ks.strip(model).layers[0].kernel, "float32")
    assert np.sum(np.asarray(kernel) == 0) == 1800
