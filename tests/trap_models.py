"""Models and parametrizations of the tests of traps."""

import keras
import numpy as np
from keras import layers, ops

import keras_sparse as ks


@keras.saving.register_keras_serializable("tests")
class Scale(ks.Parametrization):
    """A weight times the exponential of a trainable one."""

    def build(self, shape):
        self.log_scale = self.add_weight(
            name="log_scale", shape=shape, initializer="zeros"
        )

    def call(self, w, training=None):
        return w * ops.exp(self.log_scale)


@keras.saving.register_keras_serializable("tests")
class Noise(ks.Parametrization):
    """Noise on the weight while training."""

    def build(self, shape):
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, w, training=None):
        if not training:
            return w
        noise = keras.random.normal(ops.shape(w), seed=self.seed_generator)
        return w + noise


@keras.saving.register_keras_serializable("tests")
class Penalised(Scale):
    """Scale with a cost that hangs on its variable."""

    def build(self, shape):
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=shape,
            initializer="ones",
            regularizer=keras.regularizers.L1(),
        )


@keras.saving.register_keras_serializable("tests")
class Threshold(ks.Parametrization):
    """Zero below a threshold that bfloat16 cannot express."""

    at = 1 + 2**-12

    def call(self, w, training=None):
        return ops.where(ops.abs(w) >= self.at, w, ops.zeros_like(w))


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """A model that rebuilds its layers itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(5, activation="relu")
        self.second = layers.Dense(2)

    def call(self, x):
        return self.second(self.first(x))


X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def two_layers():
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation="relu"), layers.Dense(2)]
    )


def sparsified(model, parametrization=None, **options):
    return ks.sparsify(
        model, parametrization or ks.Mask(), verbose=False, **options
    )


def halve(model):
    """Sets every mask to a checkerboard."""
    for _, _, each in ks.parametrized(model):
        size = int(np.prod(each.mask.shape))
        each.set_mask((np.arange(size) % 2).reshape(each.mask.shape))
    return model


def predict(model, x=X):
    return model.predict(x, verbose=0)


def subclassed():
    model = Subclassed()
    model(X)
    return model


# Saving and reloading
