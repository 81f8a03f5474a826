"""Small MobileNet-like nets that keep or break one of XNNPACK's rules."""

import keras
import numpy as np
from keras import layers


def prune(model, sparsity):
    """Set the smallest entries of matrices and 1x1 kernels to zero."""
    for weight in model.trainable_weights:
        if len(weight.shape) == 2 or tuple(weight.shape[:2]) == (1, 1):
            array = keras.ops.convert_to_numpy(weight).copy()
            size = np.abs(array)
            array[size < np.quantile(size, sparsity)] = 0
            weight.assign(array)
    return model


def separable(x, filters, stride=1, kernel=3, padding="even"):
    """Depthwise and 1x1 convolution, each with BatchNormalization."""
    depthwise = layers.DepthwiseConv2D
    if stride == 2 and padding == "even":
        x = layers.ZeroPadding2D(kernel // 2)(x)
        x = depthwise(kernel, strides=2, use_bias=False)(x)
    else:
        x = depthwise(kernel, strides=stride, padding="same")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(filters, 1, use_bias=False)(x)
    return layers.ReLU(6.0)(layers.BatchNormalization()(x))


def even_stem(x):
    x = layers.ZeroPadding2D(1)(x)
    return layers.Conv2D(8, 3, strides=2)(x)


def pooled_head(x):
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def kept_head(x):
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Flatten()(layers.Conv2D(5, 1)(x))


def squeeze(activation):
    def body(x):
        y = layers.GlobalAveragePooling2D(keepdims=True)(x)
        y = layers.Conv2D(8, 1, activation="relu")(y)
        y = layers.Conv2D(16, 1, activation=activation)(y)
        return layers.Multiply()([x, y])

    return body


def mobile_net(
    body=None, stem=even_stem, head=pooled_head, sparsity=0.9, size=16
):
    """A net with one part exchanged."""
    keras.utils.set_random_seed(0)
    image = keras.Input((size, size, 3), name="image")
    x = layers.ReLU(6.0)(layers.BatchNormalization()(stem(image)))
    x = separable(x, 16)
    x = body(x) if body else x
    x = separable(x, 32)
    model = keras.Model(image, head(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:  # biases that keep the ReLUs alive
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return prune(model, sparsity)


FIT = {
    "plain": {},
    "residual": {"body": lambda x: layers.Add()([x, separable(x, 16)])},
    "stride 2": {"body": lambda x: separable(x, 16, 2)},
    "5 x 5, stride 2": {"body": lambda x: separable(x, 16, 2, 5)},
    "squeeze": {"body": squeeze("sigmoid")},
    "swish": {"body": lambda x: layers.Activation("silu")(x)},
    "rescaled": {"stem": lambda x: even_stem(layers.Rescaling(2.0)(x))},
    "kept and flat": {
        "head": lambda x: layers.Dense(5)(
            layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True)(x))
        )
    },
}
"""Nets that ARM64 computes sparse."""

OFF = {
    "two thirds": {"sparsity": 0.6},
    "same stem": {
        "stem": lambda x: layers.Conv2D(8, 3, strides=2, padding="same")(x),
    },
    "stride 1": {"stem": lambda x: layers.Conv2D(8, 3)(x)},
    "same, 60% zeros": {
        "body": lambda x: separable(x, 16, 2, padding="same"),
        "sparsity": 0.6,
    },
}
"""Nets that ARM64 computes dense, and right."""

HAZARD = {
    "same, stride 2": {"body": lambda x: separable(x, 16, 2, padding="same")},
    "7 x 7": {"body": lambda x: separable(x, 16, 1, 7)},
    "max pooling": {"body": lambda x: layers.MaxPooling2D()(x)},
    "1x1, stride 2": {"body": lambda x: layers.Conv2D(16, 1, strides=2)(x)},
    "3 x 3": {"body": lambda x: layers.Conv2D(16, 3, padding="same")(x)},
    "PReLU": {
        "body": lambda x: layers.PReLU(
            shared_axes=[1, 2],
            alpha_initializer=keras.initializers.Constant(0.3),
        )(x)
    },
    "dilated": {
        "body": lambda x: layers.DepthwiseConv2D(
            3, dilation_rate=2, padding="same"
        )(x)
    },
    "unpadded": {"body": lambda x: layers.DepthwiseConv2D(3)(x)},
}
"""Nets that ARM64 computes wrong, once DENSIFY is forced on them."""
