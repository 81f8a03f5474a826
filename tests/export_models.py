"""Models of every sort, and typical inputs for them."""

import keras
import numpy as np
from keras import layers


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(40, activation="relu")
        self.top = layers.Dense(3)

    def call(self, x):
        return self.top(self.hidden(x))


def dense():
    return keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(40, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def convolutional():
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]
    )
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            inner,
            layers.DepthwiseConv2D(3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


def two_inputs_two_outputs():
    b = keras.Input((4,), name="b")
    a = keras.Input((5,), name="a")
    both = layers.Concatenate()([b, a])
    return keras.Model(
        {"b": b, "a": a},
        {"z": layers.Dense(2)(both), "y": layers.Dense(3)(both)},
    )


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 30), "float32"))
    return model


def typical(model, count=40):
    """Inputs as `call` takes them."""
    rng = np.random.default_rng(1)
    if not getattr(model, "inputs", None):
        return rng.standard_normal((count, 30))
    return (
        {
            tensor.name: rng.standard_normal((count, *tensor.shape[1:]))
            for tensor in model.inputs
        }
        if len(model.inputs) > 1
        else rng.standard_normal((count, *model.inputs[0].shape[1:]))
    )
