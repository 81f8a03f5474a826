"""What has to hold on every backend; run in a process of its own."""

import concurrent.futures
import sys
import warnings

import keras
import numpy as np

import keras_sparse as ks


def sparse_life(folder, **mask):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8, 8, 3)).astype("float32")
    y = rng.integers(0, 10, 64)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.1),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    before = model.predict(x, verbose=0)
    ks.sparsify(model, ks.Mask(**mask), verbose=False)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    schedule = ks.schedules.Polynomial(0.9, begin=2, end=20)
    history = model.fit(
        x,
        y,
        batch_size=8,
        epochs=3,
        verbose=0,
        callbacks=[
            ks.callbacks.Prune(schedule, every=2),
            ks.callbacks.SparsityLogger(),
        ],
    ).history
    zeros = round(0.9 * 108) + round(0.9 * 1440)
    assert history["sparsity"][-1] == zeros / 1548, history
    prune = ks.callbacks.Prune(
        0.95, score=ks.scores.saliency, data=(x[:16], y[:16])
    )
    model.fit(x, y, verbose=0, callbacks=[prune])
    sparse = model.predict(x, verbose=0)
    ks.save(model, f"{folder}/m.keras")
    loaded = keras.saving.load_model(f"{folder}/m.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), sparse)
    ks.strip(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), sparse)
    kernels = [w for w in model.get_weights() if w.ndim > 1]
    assert [int((w == 0).sum()) for w in kernels] == [103, 1368]


def bidirectional_obeys_its_masks():
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            keras.layers.Bidirectional(keras.layers.LSTM(3)),
        ]
    )
    x = np.random.default_rng(1).normal(size=(2, 5, 4)).astype("float32")
    ks.sparsify(model, ks.Mask(), verbose=False)
    for _, slot, mask in ks.parametrized(model):
        if slot.endswith("recurrent_kernel"):
            continue
        mask.set_mask(np.zeros(mask.mask.shape))
    # Without its input kernels the layer cannot tell inputs apart.
    out = model.predict(x, verbose=0)
    np.testing.assert_allclose(out[0], out[1], atol=1e-6)
    ks.strip(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), out, atol=1e-6)


class SaveInTheMiddle(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_batch_end(self, batch, logs=None):
        if batch == 5:
            ks.save(self.model, self.path)


def every_moment_of_training_is_sparse(folder):
    x, y = np.random.default_rng(2).normal(size=(2, 32, 6)).astype("float32")
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(10), keras.layers.Dense(6)]
    )
    ks.sparsify(model, ks.Mask(), verbose=False)
    model.compile("adam", "mse")
    middle = SaveInTheMiddle(f"{folder}/middle.keras")
    schedule = ks.schedules.Polynomial(0.8, begin=0, end=8, power=1)
    history = model.fit(
        x,
        y,
        batch_size=4,
        shuffle=False,
        verbose=0,
        validation_data=(x, y),
        callbacks=[middle, ks.callbacks.Prune(schedule, every=1)],
    ).history
    # The last validation was of the final masks.
    loss = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(history["val_loss"][0], loss, rtol=1e-5)

    loaded = ks.strip(keras.saving.load_model(middle.path))
    zeros = [int((w == 0).sum()) for w in loaded.get_weights() if w.ndim > 1]
    assert zeros == [30, 30], zeros  # half, at step 5
    moments = loaded.optimizer.variables
    assert any(np.any(keras.ops.convert_to_numpy(v)) for v in moments)


@keras.saving.register_keras_serializable("tests")
class Scale(ks.Parametrization):
    def build(self, shape):
        self.log_scale = self.add_weight(shape=shape, initializer="zeros")

    def call(self, w, training=None):
        return w * keras.ops.exp(self.log_scale)


def parametrizations_train(folder):
    x, y = np.random.default_rng(3).normal(size=(2, 32, 6)).astype("float32")
    activation = keras.layers.LeakyReLU()  # a layer, as a sublayer
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(6, activation=activation)]
    )
    before = model.predict(x, verbose=0)
    ks.sparsify(model, Scale(), verbose=False)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    trained = model.predict(x, verbose=0)
    [(layer, _, scale)] = ks.parametrized(model)
    assert np.all(keras.ops.convert_to_numpy(scale.log_scale) != 0)
    ks.save(model, f"{folder}/scale.keras")
    loaded = keras.saving.load_model(f"{folder}/scale.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer is the old one's
        ks.strip(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), trained)
    assert layer.activation is activation


def threads_do_not_meet():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(64)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    [(layer, _, mask)] = ks.parametrized(model)
    mask.set_mask(np.random.default_rng(4).random((6, 64)) > 0.5)
    raw = layer.kernel
    inputs = np.random.default_rng(5).normal(size=(20, 4, 6)).astype("float32")

    def call(x):
        return keras.ops.convert_to_numpy(model(x))

    expected = [call(x) for x in inputs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for result, wanted in zip(
            pool.map(call, inputs), expected, strict=True
        ):
            np.testing.assert_array_equal(result, wanted)
    assert layer.kernel is raw


def bayesian_weights_train_or_say_why_not(folder):
    try:
        ks.Gaussian()
    except ImportError as error:
        assert keras.backend.backend() != "tensorflow"
        assert "tensorflow-probability" in str(error), error
        return
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(6)
    x = rng.normal(size=(64, 8, 8, 3)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    ks.sparsify(model, ks.Gaussian(log_sigma2=-6.0), verbose=False)
    model.compile("adam", "mse")
    history = model.fit(
        x,
        x[:, 0, 0, :2],
        batch_size=8,
        epochs=4,
        verbose=0,
        callbacks=[
            ks.callbacks.Anneal(begin=0, end=16),
            ks.callbacks.SparsityLogger(),
        ],
    ).history
    assert history["beta"][-1] == 1.0
    assert history["kl"][-1] < history["kl"][0]
    each = [p for _, _, p in ks.parametrized(model)]
    assert [p.local for p in each] == [False, True]
    for p in each:
        assert 1 / float(p.per_example) == 64
        assert np.ptp(keras.ops.convert_to_numpy(p.log_sigma2)) > 0
    samples = ks.predict_samples(model, x[:4], n=3)
    assert np.ptp(samples, axis=0).min() > 0
    sparse = model.predict(x, verbose=0)
    ks.save(model, f"{folder}/bayes.keras")
    loaded = keras.saving.load_model(f"{folder}/bayes.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), sparse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer is the old one's
        ks.strip(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), sparse)


if __name__ == "__main__":
    sparse_life(sys.argv[1])
    sparse_life(sys.argv[1], gradient_only=True)
    bidirectional_obeys_its_masks()
    every_moment_of_training_is_sparse(sys.argv[1])
    parametrizations_train(sys.argv[1])
    threads_do_not_meet()
    bayesian_weights_train_or_say_why_not(sys.argv[1])
    print("held on", keras.backend.backend())
