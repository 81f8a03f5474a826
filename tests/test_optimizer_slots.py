"""What optimizers remember of a weight starts anew where it is masked."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse import _surgery

X, Y = np.random.default_rng(0).normal(size=(2, 40, 10)).astype("float32")


@pytest.mark.parametrize(
    "callback",
    [
        ks.callbacks.Prune(0.75, every=3),
        ks.callbacks.DropAndGrow("set", sparsity=0.75, end=15, every=3),
    ],
    ids=lambda callback: type(callback).__name__,
)
@pytest.mark.parametrize("optimizer", ["ftrl", "adagrad"])
def test_optimizers_that_divide_by_what_they_remember(callback, optimizer):
    # Ftrl makes NaN of an accumulator that does not start where it does.
    layers = keras.layers.Dense(20), keras.layers.Dense(10)
    model = keras.Sequential([keras.Input((10,)), *layers])
    ks.sparsify(model, ks.Mask(), verbose=False)
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=4, epochs=2, callbacks=[callback], verbose=0)
    kernel = layers[0].kernel
    closed = np.array(next(ks.parametrized(model))[2].mask) == 0
    accumulator = _surgery.optimizer_slots(model.optimizer, kernel)[0]
    assert "accumulator" in accumulator.path
    np.testing.assert_array_equal(
        np.array(accumulator)[closed], np.float32(0.1)
    )
    ks.strip(model)
    assert (np.array(kernel) == 0).sum() == closed.sum() > 100
