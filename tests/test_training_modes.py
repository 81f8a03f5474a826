"""The ways there are to train a Keras model, each with a mask."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_sparse as ks
from tests.small_trainings import (
    SCHEDULE,
    STEPS,
    X,
    Y,
    assert_ends_sparse,
    assert_same,
    compiled,
    fit,
    masks,
    net,
    prune,
    zeros,
)


@pytest.mark.parametrize(
    "options", [{"jit_compile": True}, {"run_eagerly": True}]
)
def test_jit_and_eager_train_the_same(options):
    # Without dropout: XLA may draw other numbers.
    model, other = compiled(jit_compile=False), compiled(**options)
    for each in (model, other):
        each.layers[2].rate = 0.0
        fit(each, prune())
    np.testing.assert_array_equal(masks(model)[0], masks(other)[0])
    assert_same(model, other, atol=1e-4)
    assert_ends_sparse(other)


@pytest.mark.parametrize("knows_the_optimizer", [True, False])
def test_a_loop_of_ones_own_is_equal_to_fit(knows_the_optimizer):
    expected = compiled(jit_compile=False)
    fit(expected, prune())

    model = net()
    optimizer = keras.optimizers.Adam()
    if knows_the_optimizer:
        model.compile(optimizer)
    loss = keras.losses.MeanSquaredError()
    seeds, callback = ks.callbacks.SeedEachEpoch(), prune()
    seeds.set_model(model)
    callback.set_model(model)
    callback.on_train_begin()

    @tf.function
    def train(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(value, variables), variables, strict=True)
        )

    step = 0
    for epoch in range(3):
        seeds.on_epoch_begin(epoch)
        for x, y in zip(np.split(X, STEPS), np.split(Y, STEPS), strict=True):
            callback.update(step)
            train(x, y)
            step += 1
    callback.on_train_end()
    if knows_the_optimizer:
        assert_same(model, expected, atol=1e-6)
    for mask, wanted in zip(masks(model), masks(expected), strict=True):
        np.testing.assert_array_equal(mask, wanted)
    assert_ends_sparse(model)


class Recorder(keras.callbacks.Callback):
    """The zeros at the end of each batch, by optimizer iterations done."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        done = int(self.model.optimizer.iterations)
        self.seen.append((done, zeros(self.model)[0]))


def test_steps_per_execution():
    model, recorder = compiled(steps_per_execution=4), Recorder()
    fit(model, recorder, prune())
    # Four steps run at once, so masks move at the next multiple of four.
    assert recorder.seen == [
        (step + 4, round(120 * SCHEDULE(step))) for step in range(0, 36, 4)
    ]
    assert_ends_sparse(model)


def test_gradient_accumulation():
    adam = keras.optimizers.Adam(gradient_accumulation_steps=3)
    model, recorder = compiled(adam), Recorder()
    schedule = ks.schedules.Polynomial(final=0.75, begin=1, end=10, power=1)
    fit(model, recorder, ks.callbacks.Prune(schedule, every=2))
    # 36 batches are 12 steps of the optimizer.
    assert int(model.optimizer.iterations) == 12
    for batch, (_, seen) in enumerate(recorder.seen):
        assert seen == round(120 * schedule(batch // 3)), batch
    assert_ends_sparse(model)


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.AdamW(0.01, weight_decay=0.1),
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        keras.optimizers.Lion(0.01),
        keras.optimizers.Adam(0.01, clipnorm=1.0, amsgrad=True),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_optimizers_leave_masked_weights_at_zero(optimizer):
    model = compiled(optimizer)
    fit(model, prune())
    for layer, mask in zip(model.layers[::3], masks(model), strict=True):
        assert np.all(ops.convert_to_numpy(layer.kernel)[mask == 0] == 0)
    assert_ends_sparse(model)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled()
    finally:
        keras.config.set_dtype_policy("float32")
    fit(model, prune())
    if policy == "mixed_float16":
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert model.layers[0].kernel.dtype == "float32"
    assert_ends_sparse(model)


def test_loss_scaling_that_skips_steps_counts_those_that_were_taken():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        adam = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(), initial_scale=2.0**40
        )
        model = compiled(adam)
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.warns(UserWarning, match="before the schedule's end"):
        fit(model, prune())
    assert int(model.optimizer.inner_optimizer.iterations) < 30
    fit(model, prune(), epochs=6, initial_epoch=3)
    assert_ends_sparse(model)


@pytest.mark.parametrize("frequency", [None, 5])
def test_moving_averages_of_weights(frequency):
    adam = keras.optimizers.Adam(
        0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=frequency
    )
    model = compiled(adam)
    fit(model, prune())
    assert_ends_sparse(model)


def test_predictions_in_the_middle_are_sparse():
    class Compare(keras.callbacks.Callback):
        compared = 0

        def on_train_batch_end(self, batch, logs=None):
            if batch == 6:
                stripped = keras.models.clone_model(self.model)
                stripped.set_weights(self.model.get_weights())
                ks.strip(stripped)
                np.testing.assert_allclose(
                    self.model.predict(X, verbose=0),
                    stripped.predict(X, verbose=0),
                    atol=1e-6,
                )
                kernel = stripped.layers[0].get_weights()[0]
                assert (kernel == 0).sum() == zeros(self.model)[0]
                self.compared += 1

    compare = Compare()
    fit(compiled(), compare, prune())
    assert compare.compared == 3
