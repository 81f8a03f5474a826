"""`Prune` where `model.optimizer` does not count the steps."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from tests.test_callbacks import X, fit, masks


class OwnOptimizer(keras.Model):
    """Trains with an optimizer that `compile` knows nothing of."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(10)
        self.own = keras.optimizers.SGD(0.1)

    def call(self, x):
        return self.layer(x)

    def train_step(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(x, training=True) - y) ** 2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.own.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True)
        )
        return {"loss": loss}


@pytest.mark.filterwarnings("ignore:Expected the config")
def test_batches_count_where_the_model_has_an_optimizer_of_its_own():
    model = OwnOptimizer()
    model(X)
    ks.sparsify(model, ks.Mask(), verbose=False)
    model.compile(loss="mse")
    schedule = ks.schedules.Polynomial(0.9, begin=0, end=20)
    fit(model, ks.callbacks.Prune(schedule, every=1), epochs=3)
    assert [int(m.sum()) for m in masks(model)] == [10]


def test_a_loop_may_call_the_hooks_of_callbacks_instead():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    prune = ks.callbacks.Prune(ks.schedules.Polynomial(0.9, 0, 15), every=1)
    hooks = keras.callbacks.CallbackList([prune], model=model)
    hooks.on_train_begin()
    for epoch in range(3):
        hooks.on_epoch_begin(epoch)
        for batch in range(6):
            hooks.on_train_batch_begin(batch)
            hooks.on_train_batch_end(batch)
        hooks.on_epoch_end(epoch)
    hooks.on_train_end()
    assert [int(m.sum()) for m in masks(model)] == [10]


def test_a_loop_with_another_optimizer_ends_where_it_was_told():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    ks.sparsify(model, ks.Feather(), verbose=False)
    model.compile("sgd", "mse")  # which the loop does not use
    prune = ks.callbacks.Threshold(ks.schedules.Polynomial(0.9, 0, 5))
    prune.set_model(model)
    prune.on_train_begin()
    for step in range(8):
        prune.update(step)
    prune.on_train_end()
    assert np.sum(ks.strip(model).get_weights()[0] == 0) == 90
