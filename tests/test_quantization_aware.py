"""Rounded weights: by hand, in the int8 file, through a model's life."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers, ops

import keras_sparse as ks
from tests.contract import LAYERS, check_contract


def test_values_and_gradient_by_hand():
    import tensorflow as tf

    # Channels of scales 1 and 2, the third all zeros.
    w = tf.constant([[127.0, 0.0, 0.0], [0.4, -254.0, 0.0], [-1.6, 3.1, 0.0]])
    made = ks.QuantizationAware()
    made.build(w.shape)
    made.adapt(w)
    with tf.GradientTape() as tape:
        tape.watch(w)
        value = made(w, training=True)
        loss = ops.sum(ops.reshape(ops.arange(9.0), (3, 3)) * value)
    expected = [[127, 0, 0], [0, -254, 0], [-2, 4, 0]]
    np.testing.assert_allclose(value, expected)
    np.testing.assert_allclose(made.scale(w), [[1, 2, 1 / 127]])
    # Straight through, but for what was zero at the start.
    gradient = np.asarray(tape.gradient(loss, w))
    np.testing.assert_array_equal(gradient, [[0, 0, 0], [3, 4, 0], [6, 7, 0]])
    four = ks.QuantizationAware(bits=4, keep_zeros=False)
    four.build((3, 1))
    np.testing.assert_allclose(
        four(np.float32([[7], [1.4], [0]])), [[7], [1], [0]]
    )


@pytest.mark.parametrize("bits", [1, 9, 4.0])
def test_settings_out_of_range(bits):
    with pytest.raises(ValueError, match="Expected.*Received"):
        ks.QuantizationAware(bits)


def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    x = (data.images[..., None] / 16).astype("float32")
    return (x[:1300], data.target[:1300]), (x[1300:], data.target[1300:])


def compiled(model, rate=2e-3):
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def trained_and_pruned(train):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, (3, 2), use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, activation="relu"),
            layers.Flatten(),
            layers.Dense(40, "relu"),
            layers.Dense(10),
        ]
    )
    compiled(model).fit(*train, batch_size=32, epochs=4, verbose=0)
    return ks.prune(model, 0.8, exclude="depthwise")


def int8_weights(path):
    """(codes, scales) of the weights, codes as (inputs, outputs), by size."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    found = {}
    for each in interpreter.get_tensor_details():
        scales = each["quantization_parameters"]["scales"]
        if each["dtype"] == np.int8 and scales.size > 1:
            codes = interpreter.get_tensor(each["index"])
            axis = each["quantization_parameters"]["quantized_dimension"]
            codes = np.moveaxis(codes, axis, -1).reshape(-1, scales.size)
            found[codes.size] = codes, scales
    return found


def test_int8_file_holds_the_trained_weights(tmp_path):
    train, test = digits()
    model = trained_and_pruned(train)
    export = {
        "quantize": "int8",
        "representative_data": train[0][:200],
        "inputs": test[0],
        "labels": test[1],
    }
    path = tmp_path / "model.tflite"
    after_training = ks.export_tflite(model, path, **export)
    before = [layer.kernel.numpy() for layer in model.layers if _has(layer)]

    ks.sparsify(model, ks.QuantizationAware(), verbose=False)
    compiled(model, 1e-3).fit(*train, batch_size=32, epochs=4, verbose=0)
    trained = model.predict(test[0], verbose=0)
    ks.strip(model)
    np.testing.assert_array_equal(model.predict(test[0], verbose=0), trained)
    report = ks.export_tflite(model, path, **export)
    assert report.accuracy["xnnpack"] >= after_training.accuracy["xnnpack"]

    held = int8_weights(path)
    kernels = [layer for layer in model.layers if _has(layer)]
    assert len(held) == len(kernels) == 4
    for layer, old in zip(kernels, before, strict=True):
        codes, scales = held[old.size]
        kernel, old = (
            np.reshape(each, codes.shape) for each in (layer.kernel, old)
        )
        assert (kernel[old == 0] == 0).all() and (kernel != old).any()
        np.testing.assert_array_equal(codes == 0, kernel == 0)
        greatest = np.abs(kernel).max(axis=0)
        steps = np.where(greatest > 0, greatest, 127.0) / 127
        levels = kernel / steps
        np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
        # BatchNormalization, folded in, scales channels and may turn signs.
        sign = np.sign(np.sum(codes * levels, axis=0))
        np.testing.assert_array_equal(codes * sign, levels.round())
        if isinstance(layer, layers.Dense):
            used = greatest > 0
            np.testing.assert_allclose(scales[used], steps[used], rtol=1e-5)


def _has(layer):
    return getattr(layer, "kernel", None) is not None


def test_fewer_bits_leave_fewer_values_and_train_back():
    train, test = digits()
    model = trained_and_pruned(train)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss_of(model):
        return float(loss(train[1], model.predict(train[0], verbose=0)))

    made = ks.QuantizationAware(bits=3)
    ks.sparsify(model, made, where="dense", exclude="depth", verbose=False)
    rounded = loss_of(model)
    compiled(model, 1e-3).fit(*train, batch_size=32, epochs=3, verbose=0)
    ks.strip(model)
    assert loss_of(model) < rounded
    kernel = model.layers[-2].kernel.numpy()
    for channel in kernel.T:
        assert len(np.unique(np.abs(channel))) <= 4


def doubled(each, rng):
    each.raw.assign(rng.normal(size=each.raw.shape))


@pytest.mark.parametrize("layer", ["Dense", "Conv2DTranspose", "LSTM"])
def test_life_of_a_model(layer, tmp_path):
    made = ks.QuantizationAware(bits=4)
    check_contract(LAYERS[layer], made, doubled, tmp_path, exact=False)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_life_under_mixed_precision(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        test_life_of_a_model("Dense", tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
