"""AC/DC: `Prune` by a cyclic schedule."""

import keras
import numpy as np

import keras_sparse as ks


def test_phases_alternate_and_the_last_is_sparse():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    zeros = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            [(_, _, mask)] = ks.parametrized(model)
            zeros.append(200 - int(np.sum(mask.mask)))

    schedule = ks.schedules.Cyclic(
        0.9, begin=2, end=14, sparse_steps=3, dense_steps=3
    )
    prune = ks.callbacks.Prune(schedule, every=1)
    x = np.random.default_rng(0).normal(size=(80, 20))
    model.fit(x, x[:, :10], batch_size=4, verbose=0, callbacks=[prune, Watch()])
    phase = lambda count, n: [count] * n  # noqa: E731
    assert zeros == [
        *phase(0, 2),
        *phase(180, 3),
        *phase(0, 3),
        *phase(180, 3),
        *phase(0, 3),
        *phase(180, 6),
    ]
    assert np.sum(ks.strip(model).get_weights()[0] == 0) == 180


def test_phases_begin_in_time_whatever_the_steps_between_updates():
    schedule = ks.schedules.Cyclic(
        0.9, begin=300, end=2550, sparse_steps=150, dense_steps=150
    )
    prune = ks.callbacks.Prune(schedule)  # every 100 steps
    changes = [s for s in range(2700) if schedule(s) != schedule(s - 1)]
    assert all(prune._due(step, step - 1) for step in changes)
