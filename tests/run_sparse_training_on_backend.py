"""Sparse training on one backend; run in a process of its own."""

import sys
import warnings

import keras
import numpy as np

import keras_sparse as ks

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 40)).astype("float32")
Y = RNG.integers(0, 10, 64)


def train(parametrization, *callbacks):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((40,)),
            keras.layers.Dense(50, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(10),
        ]
    )
    ks.sparsify(model, parametrization, verbose=False)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    start = model.evaluate(X, Y, verbose=0)
    model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
    assert model.evaluate(X, Y, verbose=0) < start
    return model


def zeros(model):
    """Zeros after `strip`, which leaves predictions as they are."""
    before = model.predict(X, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model to compile again
        ks.strip(model)
    after = model.predict(X, verbose=0)
    np.testing.assert_allclose(after, before, atol=1e-5)
    return sum(int((w == 0).sum()) for w in model.get_weights() if w.ndim > 1)


def learned_thresholds_and_feather():
    ramp = ks.schedules.Polynomial(0.9, 0, 12)
    model = train(ks.Feather(), ks.callbacks.Threshold(ramp, every=3))
    assert zeros(model) == 2250
    model = train(
        ks.LearnedThreshold(budget=0.9, smallest=1),
        ks.callbacks.Budget(end=12, every=3),
    )
    assert zeros(model) == 2250


def gates_and_soft_thresholds():
    model = train(ks.WeightGate(1e-3, initial=0.505))
    assert 0 < zeros(model) < 2500
    model = train(ks.SoftThreshold(initial=-3.0))
    assert zeros(model) > 0


def patterns_and_moving_masks():
    model = train(ks.NofM(2, 4))
    assert zeros(model) == 1000 + 240  # the last two of 50 are a group
    move = ks.callbacks.DropAndGrow(
        sparsity=0.8, end=20, every=4, data=(X[:16], Y[:16])
    )
    model = train(ks.Mask(), move)
    kept = sum(int(np.sum(m.mask)) for _, _, m in ks.parametrized(model))
    assert kept == 500


def one_shot():
    model = train(ks.Mask())
    ks.strip(model)
    for score in (ks.scores.grasp, ks.scores.wanda, ks.scores.synflow):
        ks.prune(model, 0.5, score=score, data=(X, Y))
    ks.recalibrate(model, X)


if __name__ == "__main__":
    learned_thresholds_and_feather()
    gates_and_soft_thresholds()
    patterns_and_moving_masks()
    one_shot()
    print("held on", keras.backend.backend(), file=sys.stdout)
