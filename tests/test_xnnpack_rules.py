"""xnnpack_report and sparse_ready; that ARM64 agrees is in tests/arm64."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse.export.tflite import export_tflite
from keras_sparse.export.xnnpack.rules import xnnpack_report
from keras_sparse.export.xnnpack.sparse_ready import sparse_ready
from tests.mobile_nets import (
    FIT,
    HAZARD,
    OFF,
    kept_head,
    mobile_net,
    prune,
    separable,
)


@pytest.mark.parametrize("name", FIT)
def test_nets_that_fit(name):
    report = xnnpack_report(mobile_net(**FIT[name]))
    assert report.fits and report.ready
    assert not (report.engaged or report.hazard)
    assert "Ready" in str(report)
    kernels = [each.sparsity for each in report.layers if each.sparsity]
    assert min(kernels) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("name", OFF)
def test_nets_that_compute_dense(name):
    report = xnnpack_report(mobile_net(**OFF[name]))
    assert not (report.ready or report.hazard)
    assert "Computes dense" in report.verdict


PROBLEMS = {
    "same, stride 2": "padding is not 1",
    "7 x 7": "7 x 7, not 3 x 3 or 5 x 5",
    "max pooling": "MAX_POOL_2D has no place",
    "1x1, stride 2": "1 x 1 with a stride",
    "3 x 3": "3 x 3, not 1 x 1",
    "PReLU": "has no place",
    "dilated": "dilated|has no place",
    "unpadded": "padding is not 1",
}


@pytest.mark.parametrize("name", HAZARD)
def test_hazards_name_what_is_in_the_way(name):
    report = xnnpack_report(mobile_net(**HAZARD[name]))
    assert report.hazard and not report.ready
    first = report.first_problem
    assert first.remedy
    assert first.problem in str(report)
    assert any(each in first.problem for each in PROBLEMS[name].split("|")), (
        first
    )


def test_files(tmp_path):
    path = tmp_path / "m.tflite"
    model = mobile_net(**FIT["residual"])
    export_tflite(model, path)
    dense = xnnpack_report(path)
    assert dense.ready and not dense.engaged
    for quantize in (None, "float16", "dynamic"):
        export_tflite(model, path, quantize, sparse="fast")
        assert xnnpack_report(path).engaged
        assert "Computes sparse" in xnnpack_report(str(path)).verdict


def wide_stem(x):
    """Of 1024 entries and more, which dynamic files hold as int8."""
    return layers.Conv2D(40, 3, strides=2)(layers.ZeroPadding2D(1)(x))


def test_advice_for_int8_files_is_what_export_accepts(tmp_path):
    path = tmp_path / "m.tflite"
    x = np.random.default_rng(0).random((20, 16, 16, 3)).astype("float32")
    model = mobile_net(stem=wide_stem)
    for quantize in ("int8", "dynamic"):
        export_tflite(model, path, quantize, x, tolerance=10)
        report = xnnpack_report(path)
        assert not report.ready
        remedies = {each.remedy for each in report.layers if each.problem}
        (remedy,) = remedies
        assert 'quantize="dynamic" with sparse="fast"' in remedy
        assert remedy in report.verdict
    # The advice followed:
    export_tflite(model, path, "dynamic", x, sparse="fast", tolerance=10)
    assert xnnpack_report(path).engaged


@pytest.mark.parametrize("quantize", ["int8", "dynamic"])
@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"body": lambda x: separable(x, 16, 1, 7)}, "7 x 7"),
        ({"sparsity": 0.5}, "Prune further"),
    ],
)
def test_what_int8_is_not_to_blame_for_comes_first(
    net, message, quantize, tmp_path
):
    path = tmp_path / "m.tflite"
    x = np.random.default_rng(0).random((20, 16, 16, 3)).astype("float32")
    model = mobile_net(stem=wide_stem, **net)
    export_tflite(model, path, quantize, x, tolerance=10)
    assert message in xnnpack_report(path).verdict


def test_a_pooled_head_has_to_be_dense():
    report = xnnpack_report(mobile_net(head=kept_head))
    assert report.hazard
    assert xnnpack_report(sparse_ready(mobile_net(head=kept_head))).ready


def stock(size=16):
    """What a user writes: padding "same" everywhere."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Rescaling(0.5),
            layers.Conv2D(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.Conv2D(16, 1, activation="relu"),
            layers.DepthwiseConv2D(5, strides=2, padding="same"),
            layers.Conv2D(24, 1, activation="relu"),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.Dropout(0.2),
            layers.Conv2D(4, 1),
            layers.Reshape((4,)),
            layers.Softmax(),
        ]
    )
    for weight in model.weights:
        rng = np.random.default_rng(len(weight.path))
        weight.assign(rng.uniform(0.1, 1, weight.shape))
    return prune(model, 0.8)


@pytest.mark.parametrize("size", [16, 20])
def test_a_stock_model_is_made_ready(size):
    model = stock(size)
    assert not xnnpack_report(model).ready
    rebuilt = sparse_ready(model)
    assert xnnpack_report(rebuilt).ready
    x = np.random.default_rng(1).random((3, size, size, 3))
    np.testing.assert_allclose(rebuilt(x), model(x), rtol=1e-4, atol=1e-6)
    assert rebuilt.count_params() == model.count_params()
    assert [each.name for each in rebuilt.layers if each.weights] == [
        each.name for each in model.layers if each.weights
    ]
    before, after = (each.layers for each in (model, rebuilt))
    kernels = {
        layer.name: keras.ops.convert_to_numpy(layer.kernel)
        for layer in before
        if hasattr(layer, "kernel")
    }
    for layer in after:
        if layer.name in kernels:
            np.testing.assert_array_equal(
                np.sort(layer.get_weights()[0], axis=None),
                np.sort(kernels[layer.name], axis=None),
            )


def test_even_padding_needs_no_turning():
    model = mobile_net(**FIT["stride 2"])
    rebuilt = sparse_ready(model)
    for one, other in zip(model.weights, rebuilt.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stock_mobilenet_v2_is_made_ready():
    model = keras.applications.MobileNetV2(
        (96, 96, 3), alpha=0.35, weights=None, classes=4
    )
    report = xnnpack_report(sparse_ready(model))
    assert report.fits
    assert "two thirds" in report.verdict


def test_models_that_are_refused():
    image = keras.Input((16, 16, 3))
    down = layers.Conv2D(4, 3, strides=2, padding="same")(image)
    for layer, message in (
        (layers.MaxPooling2D(), "MaxPooling2D"),
        (layers.Flatten(), "Flatten"),
        (layers.Conv2D(4, 1, strides=2), "leaves out the last rows"),
    ):
        model = keras.Model(image, layer(down))
        with pytest.raises(ValueError, match=message):
            sparse_ready(model)
    middle = keras.Model(image, down * keras.random.normal((8, 8, 4), seed=0))
    with pytest.raises(RuntimeError, match="behind the pooling"):
        sparse_ready(middle)
    with pytest.raises(ValueError, match="images of fixed size"):
        open_size = keras.Input((None, None, 3))
        sparse_ready(keras.Model(open_size, layers.ReLU()(open_size)))
    with pytest.raises(TypeError, match="no model within"):
        inner = keras.Model(image, down)
        sparse_ready(keras.Model(image, inner(image)))
    with pytest.raises(ValueError, match=r"ks.strip\(model\)"):
        sparse_ready(ks.sparsify(stock(), ks.Mask(), verbose=False))


def test_damaged_files_are_errors(tmp_path):
    path = tmp_path / "m.tflite"
    export_tflite(mobile_net(lambda x: separable(x, 16)), path, sparse="fast")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for turn in range(120):
        damaged = bytearray(content)
        if turn % 2:
            damaged = damaged[: rng.integers(len(content))]
        for place in rng.integers(8, len(content), 20):
            if place < len(damaged):
                damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            xnnpack_report(path)
        except ValueError as error:
            assert "tflite" in str(error)
            refused += 1
    assert refused > 60
