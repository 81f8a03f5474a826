"""export_tflite: every kind on every sort of model."""

import gzip
import json
import logging
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from keras_sparse.export._samples import as_samples
from keras_sparse.export._signature import model_signature
from keras_sparse.export.tflite import export_tflite
from tests.export_models import (
    convolutional,
    dense,
    subclassed,
    two_inputs_two_outputs,
    typical,
)

KINDS = [None, "float16", "dynamic", "int8"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


@pytest.mark.parametrize("quantize", KINDS)
@pytest.mark.parametrize(
    "build", [dense, convolutional, two_inputs_two_outputs, subclassed]
)
def test_every_kind(build, quantize, path, capfd):
    model = build()
    report = export_tflite(model, path, quantize, typical(model))
    assert capfd.readouterr() == ("", "")
    assert os.listdir(path.parent) == [path.name]
    content = path.read_bytes()
    assert report.raw_bytes == len(content)
    assert report.gzip_bytes == len(gzip.compress(content, 9, mtime=0))
    assert set(report.max_difference) == {"xnnpack", "builtin"}
    limits = {None: 1e-6, "float16": 2e-3, "dynamic": 0.03, "int8": 0.05}
    assert max(report.relative_difference.values()) < limits[quantize]
    assert report.parameters == model.count_params()
    assert json.loads(json.dumps(report.to_dict()))["macs"] == report.macs
    assert str(path) in str(report)


def test_names_shapes_and_values_of_the_file(path):
    model = two_inputs_two_outputs()
    export_tflite(model, path, batch_size=2)
    runner = Interpreter(str(path)).get_signature_runner()
    a, b = np.ones((2, 5), "float32"), np.full((2, 4), 2, "float32")
    result = runner(a=a, b=b)
    expected = model({"a": a, "b": b})
    for name in ("y", "z"):
        np.testing.assert_allclose(result[name], expected[name], rtol=1e-5)


@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_recurrent_layers_need_no_flex(layer, path):
    model = keras.Sequential([keras.Input((6, 4)), layer(5), layers.Dense(2)])
    export_tflite(model, path)
    with pytest.raises(RuntimeError, match="without loops.*unroll = True"):
        export_tflite(model, path, "int8", typical(model))
    if layer is layers.GRU:
        model.layers[0].unroll = True
        export_tflite(model, path, "int8", typical(model))


def test_int8_inputs_and_outputs(path):
    model = convolutional()
    export_tflite(
        model, path, "int8", typical(model), batch_size=4, io_dtype="int8"
    )
    interpreter = Interpreter(str(path))
    (fed,), (given,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    assert fed["dtype"] == given["dtype"] == np.int8
    assert list(fed["shape"]) == [4, 8, 8, 3]


def test_integer_inputs(path):
    ids = keras.Input((7,), dtype="int32", name="ids")
    mean = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(ids))
    model = keras.Model(ids, layers.Dense(3)(mean))
    export_tflite(model, path)
    export_tflite(model, path, "int8", np.arange(70).reshape(10, 7) % 20)


def test_open_dimension_takes_its_size_from_the_inputs(path):
    model = keras.Sequential([keras.Input((None, 4)), layers.Conv1D(2, 3)])
    with pytest.raises(ValueError, match=r"\(None, 4\).*Pass inputs="):
        export_tflite(model, path)
    export_tflite(model, path, inputs=np.ones((3, 9, 4)))
    details = Interpreter(str(path)).get_input_details()
    assert list(details[0]["shape"]) == [1, 9, 4]


def test_labels(path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    model.layers[0].set_weights([np.eye(3), np.zeros(3)])
    x = np.eye(3)[[0, 1, 2, 2]]
    report = export_tflite(model, path, inputs=x, labels=[0, 1, 2, 0])
    assert report.accuracy == dict(keras=0.75, xnnpack=0.75, builtin=0.75)
    assert report.top1_agreement == {"xnnpack": 1.0, "builtin": 1.0}
    assert "accuracy" in str(report)
    assert (report.parameters, report.nonzeros, report.macs) == (12, 3, 9)
    assert report.sparsity == 0.75
    one_hot = export_tflite(model, path, inputs=x, labels=x)
    assert one_hot.accuracy["xnnpack"] == 1.0
    for labels, message in (
        ([0, 1, 2, 3], "from 0 to 2"),
        ([0, 1], r"shape \(4,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            export_tflite(model, path, inputs=x, labels=labels)
    with pytest.raises(ValueError, match="Pass inputs=x_test"):
        export_tflite(model, path, labels=[0])


def test_sizes_of_lenet_300_100(path):
    model = keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(300, activation="relu"),
            layers.Dense(100, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    report = export_tflite(model, path)
    assert report.gzip_bytes / 1024 == pytest.approx(953, abs=5)
    for layer in model.layers:
        kernel, bias = layer.get_weights()
        size = np.abs(kernel)
        kernel[size < np.quantile(size, 0.9)] = 0
        layer.set_weights([kernel, bias])
    data = np.random.default_rng(0).random((50, 784))
    report = export_tflite(model, path, "int8", data)
    assert report.gzip_bytes <= 46 * 1024
    assert report.sparsity == pytest.approx(0.9, abs=0.01)
    assert report.macs == 266_200


def test_forms_of_data():
    one = model_signature(dense())
    x = np.random.default_rng(0).random((12, 30)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((x, np.zeros(12))).batch(5)
    for data in (
        x,
        tf.constant(x),
        [x],
        (x,),
        {"input_0": x},
        [x[:6], x[6:]],
        ((x[i : i + 1], 0) for i in range(12)),
        dataset,
        lambda: ([x[i : i + 4]] for i in range(0, 12, 4)),
    ):
        np.testing.assert_array_equal(as_samples(data, one, "data")[0], x)
    assert len(as_samples(dataset.repeat(), one, "data", 7)[0]) == 7
    spaced = as_samples(x, one, "data", 3)[0]
    np.testing.assert_array_equal(spaced, x[[0, 5, 11]])

    two = model_signature(two_inputs_two_outputs())
    a, b = np.ones((6, 5)), np.zeros((6, 4))
    named = tf.data.Dataset.from_tensor_slices(({"a": a, "b": b}, a)).batch(4)
    for data in ([a, b], {"b": b, "a": a}, named, iter([(a, b)])):
        flat = as_samples(data, two, "data")
        np.testing.assert_array_equal(flat[0], a)
        np.testing.assert_array_equal(flat[1], b)
    with pytest.raises(ValueError, match="expected 2 arrays"):
        as_samples(a, two, "data")
    with pytest.raises(ValueError, match="the same number of samples"):
        as_samples([a, b[:3]], two, "data")


def test_verbose_names_the_stages(path, capsys):
    export_tflite(dense(), path, verbose=True)
    said = capsys.readouterr().out
    assert "Converting" in said
    assert "Comparing" in said


def test_logging_is_as_it_was_after_an_export(tmp_path):
    handlers = logging.getLogger().handlers[:]
    export_tflite(dense(), tmp_path / "m.tflite")
    assert logging.getLogger().handlers == handlers


def test_a_file_that_chooses_other_classes_is_told(path):
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(10, activation="softmax")]
    )
    kernel, bias = model.get_weights()
    model.set_weights([1e-3 * kernel, bias])  # all near one tenth
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    with pytest.warns(UserWarning, match="the same class for .*% of"):
        export_tflite(model, path, "int8", x)
    assert path.exists()
