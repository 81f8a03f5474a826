"""Bayesian weights in every way that Keras trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_sparse as ks

X = np.random.default_rng(0).normal(size=(64, 6, 6, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 64)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def bayesian(**kwargs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    arguments = {"log_sigma2": -4.0, "train_size": 64, **kwargs}
    return ks.sparsify(model, ks.Gaussian(**arguments), verbose=False)


MODES = {
    "jit": {"jit_compile": True},
    "eager": {"run_eagerly": True},
    "several steps in one": {"steps_per_execution": 4},
    "accumulation": {
        "optimizer": lambda: keras.optimizers.Adam(
            1e-2, gradient_accumulation_steps=2
        )
    },
    "weight decay": {"optimizer": lambda: keras.optimizers.AdamW(1e-2)},
    "moving average": {
        "optimizer": lambda: keras.optimizers.Adam(1e-2, use_ema=True)
    },
    "loss scaling": {
        "optimizer": lambda: keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(1e-2)
        )
    },
}


@pytest.mark.parametrize("mode", MODES)
def test_noise_shrinks_what_it_cannot_use(mode):
    arguments = {"optimizer": lambda: keras.optimizers.Adam(1e-2)}
    arguments |= MODES[mode]
    model = bayesian()
    make = arguments.pop("optimizer")
    model.compile(make(), LOSS, **{"jit_compile": False, **arguments})
    history = model.fit(
        X,
        Y,
        batch_size=8,
        epochs=3,
        verbose=0,
        validation_data=(X, Y),
        callbacks=[ks.callbacks.Anneal(begin=0, end=8)],
    ).history
    assert np.isfinite(history["loss"]).all()
    assert history["kl"][-1] < history["kl"][0]
    evaluated = model.predict(X, verbose=0)
    with pytest.warns(UserWarning, match="compile"):
        ks.strip(model)
    np.testing.assert_array_equal(model.predict(X, verbose=0), evaluated)


def test_a_loop_of_ones_own():
    model = bayesian()
    optimizer = keras.optimizers.Adam(1e-2)
    _, gaussian = [p for _, _, p in ks.parametrized(model)]
    before = float(gaussian.nats())

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = LOSS(y, model(x, training=True)) + sum(model.losses)
        variables = model.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True)
        )
        return loss

    for _ in range(20):
        assert np.isfinite(step(X, Y))
    assert float(gaussian.nats()) < before


def test_the_loss_of_fit_holds_the_divergence():
    model = bayesian(log_sigma2=-30.0)
    model.compile(keras.optimizers.SGD(0.0), LOSS)
    model.layers[1].momentum = 1.0  # BatchNorm that does not move
    model.layers[1].trainable = False
    loss = model.fit(X, Y, batch_size=64, verbose=0).history["loss"][0]
    nats = sum(float(p.nats()) for _, _, p in ks.parametrized(model))
    data = float(LOSS(Y, model(X)))
    assert loss == pytest.approx(data + nats / 64, rel=1e-4)


def test_a_checkpoint_in_the_middle_loads(tmp_path):
    model = bayesian()
    model.compile("adam", LOSS)
    path = str(tmp_path / "best.keras")
    saver = keras.callbacks.ModelCheckpoint(path, save_best_only=False)
    model.fit(X, Y, batch_size=16, verbose=0, callbacks=[saver])
    loaded = keras.saving.load_model(path)
    assert len(loaded.losses) == 2  # the divergences are attached again
    np.testing.assert_array_equal(
        loaded.predict(X, verbose=0), model.predict(X, verbose=0)
    )
    loaded.fit(X, Y, batch_size=16, verbose=0)


def test_a_shared_layer_is_cloned_with_its_penalty():
    shared = layers.Dense(3)
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], layers.Add()([shared(a), shared(b)]))
    ks.sparsify(model, ks.Gaussian(train_size=64), verbose=False)
    clone = keras.models.clone_model(model)
    [(_, _, gaussian)] = ks.parametrized(clone)
    [loss] = clone.losses
    assert float(loss) == pytest.approx(float(gaussian.nats()) / 64)


def test_only_weights_that_meet_an_input_once_get_local_noise():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.DepthwiseConv2D(3),
            layers.Conv2D(3, 1),
            layers.SeparableConv2D(4, 3),
            layers.Reshape((16, 4)),
            layers.DepthwiseConv1D(3),
            layers.EinsumDense("abc,cde->abde", (14, 2, 3)),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    ks.sparsify(model, ks.Gaussian(), verbose=False)
    local = {layer.name for layer, _, p in ks.parametrized(model) if p.local}
    assert local == {model.layers[5].name, model.layers[7].name}
