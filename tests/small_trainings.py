"""A small net under `Prune`, and what it has to end as."""

import keras
import numpy as np
from keras import layers, ops

import keras_sparse as ks

RNG = np.random.default_rng(0)


X = RNG.normal(size=(48, 6)).astype("float32")


Y = RNG.normal(size=(48, 2)).astype("float32")


STEPS = 12  # in an epoch, at a batch size of 4


# Due at steps 3, 6, ..., 27, 30: in the middle and at the ends of epochs.
SCHEDULE = ks.schedules.Polynomial(final=0.75, begin=3, end=30)


def net(**mask):
    """The same sparse model at each call, weights and seeds included."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(20, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(2),
        ]
    )
    return ks.sparsify(model, ks.Mask(**mask), verbose=False)


def compiled(optimizer="adam", mask=None, **options):
    model = net(**(mask or {}))
    model.compile(optimizer, "mse", **options)
    return model


def prune(**options):
    return ks.callbacks.Prune(SCHEDULE, every=3, **options)


def fit(model, *callbacks, epochs=3, **options):
    options = {"batch_size": 4, "shuffle": False, "verbose": 0} | options
    callbacks = [ks.callbacks.SeedEachEpoch(), *callbacks]
    return model.fit(X, Y, epochs=epochs, callbacks=callbacks, **options)


def masks(model):
    return [
        ops.convert_to_numpy(each.mask) for _, _, each in ks.parametrized(model)
    ]


def zeros(model):
    return [int((mask == 0).sum()) for mask in masks(model)]


def assert_ends_sparse(model):
    """Strips it: exactly the target, and the predictions stay."""
    assert zeros(model) == [90, 30]
    sparse = np.asarray(model(X), "float32")
    ks.strip(model)
    kernels = [model.layers[0].kernel, model.layers[3].kernel]
    assert [int((ops.convert_to_numpy(k) == 0).sum()) for k in kernels] == [
        90,
        30,
    ]
    np.testing.assert_array_equal(np.asarray(model(X), "float32"), sparse)


def everything(model):
    """All that training changes, but the noise to come."""
    return [
        (v.path, ops.convert_to_numpy(v))
        for v in [*model.variables, *model.optimizer.variables]
        if "seed_generator" not in v.path
    ]


def assert_same(model, other, atol=None):
    pairs = zip(everything(model), everything(other), strict=True)
    for (path, value), (_, wanted) in pairs:
        if atol is None:
            np.testing.assert_array_equal(value, wanted, err_msg=path)
        else:
            np.testing.assert_allclose(value, wanted, atol=atol, err_msg=path)
