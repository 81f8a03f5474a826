"""Shared values: k-means by hand, files, fine-tuning, whole life."""

import gzip
import itertools
import warnings

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers, ops

import keras_sparse as ks
from keras_sparse._arithmetic.k_means import nearest, shared_values
from tests.contract import LAYERS, check_contract


def test_k_means_finds_the_best_of_all_partitions():
    rng = np.random.default_rng(0)
    for trial in range(20):
        entries = np.sort(rng.normal(size=9) ** (1 + 2 * (trial % 2)))

        def error(values, entries=entries):
            return np.sum((entries - values[nearest(entries, values)]) ** 2)

        best = min(
            sum(
                np.sum((part - part.mean()) ** 2)
                for part in np.split(entries, cut)
            )
            for cut in itertools.combinations(range(1, 9), 2)
        )
        found = shared_values(rng.permutation(entries), 3)
        assert best <= error(found) + 1e-12
        assert error(found) < 1.5 * best + 1e-12
        # Each value is the mean of what is nearest to it.
        for place, value in enumerate(found):
            own = entries[nearest(entries, found) == place]
            assert value == pytest.approx(own.mean())


def test_k_means_of_few_values_and_pinned_ends():
    assert shared_values(np.array([2.0, 1.0, 2.0]), 5).tolist() == [1, 2]
    entries = np.array([-1.0, -0.5, -0.4, 0.4, 0.5, 0.6, 1.0])
    assert shared_values(entries, 4, pinned=True) == pytest.approx(
        [-1, -0.45, 0.5, 1]
    )


def net(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(40, "relu"),
            layers.Dense(4),
        ]
    )


def kernels(model):
    return [layer.kernel.numpy() for layer in model.layers if layer.weights]


def test_cluster_keeps_zeros_and_variables():
    model = ks.prune(net(), 0.7)
    model.compile("adam", "mse")
    variables, before = model.trainable_variables, kernels(model)
    assert ks.cluster(model, 5) is model
    assert model.compiled
    assert all(
        a is b
        for a, b in zip(model.trainable_variables, variables, strict=True)
    )
    for kernel, old in zip(kernels(model), before, strict=True):
        np.testing.assert_array_equal(kernel == 0, old == 0)
        values = np.unique(kernel[kernel != 0])
        assert 2 <= len(values) <= 5
        # To the nearest of them, and no other layer's.
        gaps = np.abs(old[old != 0][:, None] - values)
        chosen = values[gaps.argmin(axis=1)]
        np.testing.assert_allclose(kernel[kernel != 0], chosen)
    with pytest.raises(ValueError, match="from 2 to 65535"):
        ks.cluster(model, 1)
    with pytest.raises(ValueError, match="Expected a plain model"):
        ks.cluster(ks.sparsify(model, ks.Mask(), verbose=False))


def test_gzip_of_files_shrinks(tmp_path):
    model, clustered = ks.prune(net(), 0.5), ks.prune(net(), 0.5)
    ks.cluster(clustered, 6)
    by_channel = ks.cluster(ks.prune(net(), 0.5), 6, per_channel=True)
    x = np.random.default_rng(0).random((50, 8, 8, 1))
    path = tmp_path / "model.tflite"

    def size(model, kind):
        ks.export_tflite(model, path, kind, x, tolerance=1.0)
        return len(gzip.compress(path.read_bytes(), 9, mtime=0))

    for kind in (None, "float16"):
        assert size(clustered, kind) < 0.5 * size(model, kind)
    assert 0.8 * size(model, "int8") > size(by_channel, "int8")
    # This last file has no other bytes than the shared values and zero.
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    held = [
        interpreter.get_tensor(each["index"])
        for each in interpreter.get_tensor_details()
        if each["dtype"] == np.int8
        and len(each["shape"]) in (2, 4)
        and each["quantization_parameters"]["scales"].size > 1
    ]
    sizes = sorted(kernel.size for kernel in kernels(by_channel))
    assert sorted(codes.size for codes in held) == sizes
    for codes in held:
        values = np.unique(codes[codes != 0])
        assert len(values) <= 6 and np.abs(values).max() == 127


def test_gradient_by_hand_and_what_moves():
    import tensorflow as tf

    made = ks.Clustered(2)
    w = np.float32([0, 1, 2, 10, 12])
    made.build(w.shape)
    made.adapt(w)
    with tf.GradientTape() as tape:
        value = made(ops.array(w), training=True)
        loss = ops.sum(ops.array([1.0, 2.0, 3.0, 4.0, 5.0]) * value)
    assert np.asarray(value).tolist() == [0, 1.5, 1.5, 11, 11]
    gradient = tape.gradient(loss, made.values.value)
    assert np.asarray(ops.convert_to_tensor(gradient)).tolist() == [5, 9]


@pytest.mark.parametrize("per_channel", [False, True])
def test_values_are_trained_and_nothing_else(per_channel):
    model = ks.prune(net(), 0.8)
    made = ks.Clustered(6, per_channel=per_channel)
    ks.sparsify(model, made, where="conv|dense", verbose=False)
    raw = kernels(model)
    rng = np.random.default_rng(1)
    x, y = rng.random((200, 8, 8, 1)), rng.integers(0, 4, 200)
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = model.fit(x, y, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for kernel, old in zip(kernels(model), raw, strict=True):
        np.testing.assert_array_equal(kernel, old)
    trained = model.predict(x, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model to compile again
        ks.strip(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), trained)
    for kernel, old in zip(kernels(model), raw, strict=True):
        np.testing.assert_array_equal(kernel == 0, old == 0)
        if per_channel:
            axes = tuple(range(kernel.ndim - 1))
            scale = np.abs(old).max(axes)
            np.testing.assert_allclose(np.abs(kernel).max(axes), scale)
            kernel = (kernel / np.where(scale, scale, 1)).round(5)
        assert len(np.unique(kernel[kernel != 0])) <= 6


def others(each, rng):
    each.values.assign(rng.normal(size=each.values.shape))


@pytest.mark.parametrize("layer", ["Dense", "DepthwiseConv2D", "GRU"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_life_of_a_model(layer, per_channel, tmp_path):
    made = ks.Clustered(4, per_channel=per_channel)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*changed which variables")
        check_contract(LAYERS[layer], made, others, tmp_path, exact=False)
