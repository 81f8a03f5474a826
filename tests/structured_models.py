"""Models to cut, and what has to stay the same."""

import keras
import numpy as np
from keras import layers

from keras_sparse.structured import groups


def arrays(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def functional(shape, body):
    inputs = keras.Input(shape)
    return keras.Model(inputs, body(inputs))


def jitter(model, seed=1):
    """No weight at its initial value: biases and statistics too."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype == "float32":
            noise = rng.normal(0, 0.3, weight.shape)
            value = keras.ops.convert_to_numpy(weight) + noise
            positive = "variance" in weight.path
            weight.assign(np.abs(value) + 0.5 if positive else value)
    return model


def zero_units(model, share=0.5, seed=2):
    """Zeroes every variable entry that makes the first units of each group."""
    found = groups(model)
    count = 0
    for group in found:
        gone = np.arange(group.size) < int(share * group.size)
        count += gone.sum()
        for member in group.members:
            if member.role in ("in", "other"):
                continue
            inside = (member.units >= 0) & gone[member.units]
            value = keras.ops.convert_to_numpy(member.variable).copy()
            np.moveaxis(value, member.axis, 0)[inside] = 0
            member.variable.assign(value)
    return count


def same(model, small, x, atol=1e-5):
    outputs = zip(
        keras.tree.flatten(model(x)),
        keras.tree.flatten(small(x)),
        strict=True,
    )
    for before, after in outputs:
        before = keras.ops.convert_to_numpy(before)
        after = keras.ops.convert_to_numpy(after)
        assert np.ptp(before) > 1e-3
        np.testing.assert_allclose(after, before, rtol=0, atol=atol)


def residual(x):
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(6, 1, activation="relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same")(y)
    y = layers.Conv2D(8, 3, padding="same")(layers.PReLU()(y))
    x = layers.Add()([x, y])
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(4, 1, activation="swish")(s)
    x = x * layers.Conv2D(8, 1, activation="sigmoid")(s)
    x = layers.Concatenate()(
        [x, layers.SeparableConv2D(6, 3, padding="same")(x)]
    )
    x = layers.MaxPooling2D()(x)
    return layers.Dense(3)(layers.Flatten()(x))


def grouped(x):
    x = layers.Conv2D(8, 1)(x)
    x = layers.Conv2D(12, 3, groups=4, activation="relu")(x)
    x = layers.GroupNormalization(4)(x)
    x = layers.Conv2D(8, 1)(x)
    x = layers.Conv2D(16, 3, groups=8, activation="tanh")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, activation="relu")(x)
    return layers.Dense(3)(layers.GlobalAveragePooling2D()(x))


def recurrent(x):
    x = layers.Dense(6)(x)
    x = layers.LSTM(6, return_sequences=True)(x)
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(6, activation="relu"))(x)
    x = layers.SimpleRNN(4)(x)
    return layers.Dense(3)(x)


def transformer(x):
    x = layers.Dense(8)(x)
    y = layers.MultiHeadAttention(4, 3)(x, x)
    x = layers.LayerNormalization()(x + y)
    y = layers.Dense(8)(layers.Dense(12, "gelu")(x))
    x = layers.LayerNormalization()(x + y)
    y = layers.GroupQueryAttention(3, 4, 2)(x, x)
    x = x + y
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(x))


def generator(x):
    x = layers.Reshape((2, 2, 8))(layers.Dense(32, "relu")(x))
    x = layers.UpSampling2D()(layers.Conv2DTranspose(6, 2)(x))
    x = layers.ReLU()(keras.ops.reshape(x, (-1, 36, 6)) * 2.0)
    return layers.Dense(3)(layers.Conv1D(4, 3)(x))


def kinds(model, **options):
    """(size, makers) of every group that can be cut."""
    return [(g.size, "+".join(g.makers)) for g in groups(model, **options)]


def reasons(model):
    return [reason for group in groups(model).fixed for reason in group.fixed]
