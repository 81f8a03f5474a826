"""A mirrored strategy of two CPU devices; run in a process of its own."""

import faulthandler
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

import keras_sparse as ks
from keras_sparse._mechanism import sparse_class

ONE = tf.distribute.get_strategy()


def two_devices():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def data(*shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, *shape)).astype("float32")
    return x, rng.integers(0, 3, 32)


class Noted:
    """A schedule that notes the steps it is asked for."""

    begin, end, final = 0, 8, 0.8

    def __init__(self):
        self.steps = []

    def __call__(self, step):
        self.steps.append(step)
        return ks.schedules.Polynomial(self.final, self.begin, self.end)(step)


def network(strategy):
    with strategy.scope():
        return keras.Sequential(
            [
                keras.Input((6, 6, 2)),
                keras.layers.Conv2D(4, 3),
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )


def fit(strategy, model, x, y):
    with strategy.scope():
        model.compile(
            "adam",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    return go_on(model, x, y, epochs=3)


def go_on(model, x, y, **options):
    """Returns the steps that the schedule was asked for."""
    options = {"batch_size": 8, "shuffle": False, "verbose": 0} | options
    schedule = Noted()
    prune = ks.callbacks.Prune(schedule, every=2)
    model.fit(x, y, callbacks=[prune], **options)
    return schedule.steps


def convolutional(strategy, folder):
    x, y = data(6, 6, 2)
    model = network(strategy)
    ks.sparsify(model, ks.Mask(), verbose=False)
    steps = fit(strategy, model, x, y)
    alone = ks.sparsify(network(ONE), ks.Mask(), verbose=False)
    assert steps == fit(ONE, alone, x, y) and len(steps) >= 5, steps
    for _, _, parametrization in ks.parametrized(model):
        first, second = (
            copy.numpy() for copy in parametrization.mask.value.values
        )
        np.testing.assert_array_equal(first, second)
        assert 1 - first.mean() == round(0.8 * first.size) / first.size
    sparse = model.predict(x, verbose=0)
    ks.save(model, f"{folder}/m.keras")
    loaded = keras.saving.load_model(f"{folder}/m.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), sparse, atol=1e-6)
    goes_on(strategy, f"{folder}/m.keras", masks(model))
    ks.strip(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), sparse, atol=1e-6)


def goes_on(strategy, path, saved):
    """From a file of two replicas, on two and on one."""
    ends = []
    for each in (strategy, ONE):
        with each.scope():
            model = keras.saving.load_model(path)
        assert model.distribute_strategy is each
        assert steps_taken(model) == 12
        go_on(model, *data(6, 6, 2), initial_epoch=3, epochs=4)
        assert steps_taken(model) == 16
        for was, now in zip(saved, masks(model), strict=True):
            np.testing.assert_array_equal(now, was)
        ends.append(ks.strip(model).get_weights())
    for two, one in zip(*ends, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-5)


def masks(model):
    return [
        keras.ops.convert_to_numpy(mask.mask)
        for _, _, mask in ks.parametrized(model)
    ]


def steps_taken(model):
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def recurrent_with_dropout(strategy):
    x, y = data(5, 4)
    with strategy.scope():
        model = keras.Sequential(
            [
                keras.Input((5, 4)),
                keras.layers.LSTM(6, dropout=0.2, recurrent_dropout=0.2),
                keras.layers.Dense(3),
            ]
        )
        ks.sparsify(model, ks.Mask(), verbose=False)
    fit(strategy, model, x, y)
    ks.strip(model)
    kernels = [w for w in model.get_weights() if w.ndim > 1]
    for kernel in kernels:
        assert (kernel == 0).sum() == round(0.8 * kernel.size)


def attention_with_dropout(strategy):
    x, y = data(5, 4)
    with strategy.scope():
        inputs = keras.Input((5, 4))
        attention = keras.layers.MultiHeadAttention(2, 3, dropout=0.2)
        normal = keras.layers.BatchNormalization()
        flat = keras.layers.Flatten()(normal(attention(inputs, inputs)))
        model = keras.Model(inputs, keras.layers.Dense(3)(flat))
    ks.sparsify(model, ks.Mask(), verbose=False)
    fit(strategy, model, x, y)
    ks.strip(model)
    kernels = [v.numpy() for v in model.weights if v.name == "kernel"]
    assert len(kernels) == 5
    for kernel in kernels:
        assert (kernel == 0).sum() == round(0.8 * kernel.size)


def bayesian_weights(strategy, folder):
    x, y = data(6, 6, 2)
    model = network(strategy)
    ks.sparsify(model, ks.Gaussian(log_sigma2=-4.0), verbose=False)
    with strategy.scope():
        model.compile(
            "adam",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    anneal = ks.callbacks.Anneal(begin=0, end=6)
    history = model.fit(
        x, y, batch_size=8, epochs=3, verbose=0, callbacks=[anneal]
    ).history
    assert history["beta"] == [0.5, 1.0, 1.0]
    for _, _, gaussian in ks.parametrized(model):
        np.testing.assert_allclose(1 / gaussian.per_example.numpy(), 32)
        first, second = (v.numpy() for v in gaussian.log_sigma2.value.values)
        np.testing.assert_array_equal(first, second)
        noise = strategy.run(lambda g=gaussian: g.normal((50,))).values
        assert not np.allclose(noise[0], noise[1])
    sparse = model.predict(x, verbose=0)
    samples = ks.predict_samples(model, x, n=4, batch_size=8)
    assert samples.shape == (4, *sparse.shape)
    assert samples.std(0).min() > 0  # in both replicas' halves
    ks.save(model, f"{folder}/b.keras")
    loaded = keras.saving.load_model(f"{folder}/b.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), sparse, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer is the old one's
        ks.strip(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), sparse, atol=1e-6)


def feathered_weights(strategy):
    x, y = data(6, 6, 2)
    model = network(strategy)
    ks.sparsify(model, ks.Feather(), verbose=False)
    with strategy.scope():
        model.compile(
            "adam",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    threshold = ks.callbacks.Threshold(ks.schedules.Polynomial(0.8, 0, 8))
    model.fit(x, y, batch_size=8, epochs=3, verbose=0, callbacks=[threshold])
    for _, _, feather in ks.parametrized(model):
        first, second = (
            copy.numpy() for copy in feather.threshold.value.values
        )
        assert first == second > 0
    sparse = model.predict(x, verbose=0)
    ks.strip(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), sparse, atol=1e-6)
    kernels = [w for w in model.get_weights() if w.ndim > 1]
    zeros = sum(int((w == 0).sum()) for w in kernels)
    assert zeros == round(0.8 * sum(w.size for w in kernels))


class Counted(keras.layers.Dense):
    """Makes the replicas wait for each other inside `call`."""

    def build(self, shape):
        super().build(shape)
        self.count = self.add_weight(
            shape=(), initializer="zeros", trainable=False, aggregation="mean"
        )

    def call(self, x):
        self.count.assign_add(1.0)
        return super().call(x)


ks.register_adapter(Counted)


def replicas_that_wait_for_each_other(strategy):
    x, y = data(4)
    with strategy.scope():
        model = keras.Sequential([keras.Input((4,)), Counted(3)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    sparse_class.PATIENCE = 2.0
    try:
        fit(strategy, model, x, y)
    except RuntimeError as error:
        assert "replicas" in str(error) and "exclude" in str(error), error
    else:
        raise AssertionError("expected an error")
    ks.strip(model)
    assert isinstance(model.layers[0].kernel, keras.Variable)
    assert np.isfinite(model.layers[0].get_weights()[0]).all()


if __name__ == "__main__":
    faulthandler.dump_traceback_later(150, exit=True)  # a deadlock is a failure
    mirrored = two_devices()
    convolutional(mirrored, sys.argv[1])
    recurrent_with_dropout(mirrored)
    attention_with_dropout(mirrored)
    bayesian_weights(mirrored, sys.argv[1])
    feathered_weights(mirrored)
    replicas_that_wait_for_each_other(mirrored)
    print("held on two devices")
