"""export_tflite: every kind on every sort of model, and every refusal."""

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

import keras_sparse as ks
from keras_sparse import _atomic
from keras_sparse.export import _litert, tflite
from keras_sparse.export._samples import as_samples
from keras_sparse.export._signature import model_signature
from keras_sparse.export.tflite import export_tflite

KINDS = [None, "float16", "dynamic", "int8"]


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


@pytest.mark.parametrize("quantize", KINDS)
def test_a_mismatch_is_not_written(quantize, path, monkeypatch):
    model = convolutional()
    path.write_bytes(b"the file before")
    true = tflite.keras_predictions

    def shifted(*args):
        return [np.roll(y, 1, axis=-1) for y in true(*args)]

    monkeypatch.setattr(tflite, "keras_predictions", shifted)
    with pytest.raises(RuntimeError, match="Not written.*at most"):
        export_tflite(model, path, quantize, typical(model))
    assert path.read_bytes() == b"the file before"
    assert os.listdir(path.parent) == [path.name]
    export_tflite(model, path, quantize, typical(model), tolerance=10)


def test_nan_is_not_written(path, monkeypatch):
    model = dense()
    true = _litert.run

    def run(file, setup, *args):
        (output,) = true(file, setup, *args)
        if setup == "builtin":
            output[0, 0] = np.nan
        return [output]

    monkeypatch.setattr(_litert, "run", run)
    with pytest.raises(RuntimeError, match=r"\(builtin\), received 1 NaN"):
        export_tflite(model, path)
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([np.full_like(kernel, np.nan), bias])
    with pytest.raises(ValueError, match="NaN .* from Keras itself"):
        export_tflite(model, path)
    assert os.listdir(path.parent) == []


def test_weights_that_float16_cannot_hold(path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.layers[0].set_weights([np.full((3, 2), 1e6), np.zeros(2)])
    with pytest.raises(RuntimeError, match="Not written.*quantize=None"):
        export_tflite(model, path, "float16")
    export_tflite(model, path)


@pytest.mark.parametrize("where", ["write", "sync", "replace"])
def test_a_failed_write_leaves_the_file_before(where, path, monkeypatch):
    model = dense()
    path.write_bytes(b"the file before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    if where == "write":
        monkeypatch.setattr(type(path), "write_bytes", fail)
    else:
        name = {"sync": "fsync", "replace": "replace"}[where]
        monkeypatch.setattr(_atomic.os, name, fail)
    with pytest.raises(OSError, match="No space left"):
        export_tflite(model, path)
    monkeypatch.undo()
    assert path.read_bytes() == b"the file before"
    assert os.listdir(path.parent) == [path.name]


def test_a_link_is_followed_and_the_mode_kept(path, tmp_path):
    path.write_bytes(b"")
    path.chmod(0o640)
    link = tmp_path / "link.tflite"
    link.symlink_to(path)
    export_tflite(dense(), link)
    assert link.is_symlink()
    assert path.stat().st_size > 1000
    assert path.stat().st_mode & 0o777 == 0o640


def test_paths_that_cannot_be_written(tmp_path, monkeypatch):
    def never(*_, **__):
        raise RuntimeError("converted before the path was checked")

    monkeypatch.setattr(tflite, "keras_predictions", never)
    model = dense()
    with pytest.raises(FileNotFoundError, match="os.makedirs"):
        export_tflite(model, tmp_path / "none" / "m.tflite")
    with pytest.raises(IsADirectoryError, match="Add a file name"):
        export_tflite(model, tmp_path)
    monkeypatch.setattr(_atomic, "_temporary", lambda _: tmp_path / "no/t")
    with pytest.raises(OSError, match="Choose another path"):
        export_tflite(model, tmp_path / "m.tflite")
    assert os.listdir(tmp_path) == []


def test_models_that_are_refused(path, monkeypatch):
    with pytest.raises(TypeError, match="keras.Model"):
        export_tflite(layers.Dense(2), path)
    with pytest.raises(ValueError, match="built model.*Call it once"):
        export_tflite(keras.Sequential([layers.Dense(2)]), path)
    parametrized = ks.sparsify(dense(), ks.Mask())
    with pytest.raises(ValueError, match=r"ks.strip\(model\)"):
        export_tflite(parametrized, path)
    export_tflite(ks.strip(parametrized), path)
    policy = keras.DTypePolicy("mixed_float16")
    half = keras.Sequential([keras.Input((3,)), layers.Dense(2, dtype=policy)])
    with pytest.raises(ValueError, match="float32, received .*set_weights"):
        export_tflite(half, path)
    stateful = keras.Sequential(
        [keras.Input(batch_shape=(1, 2, 3)), layers.GRU(2, stateful=True)]
    )
    with pytest.raises(ValueError, match="stateful=True in"):
        export_tflite(stateful, path)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=tensorflow"):
        export_tflite(dense(), path)


def test_an_operation_that_litert_has_not(path, capfd):
    class Svd(layers.Layer):
        def call(self, x):
            return tf.linalg.svd(x, compute_uv=False)

    model = keras.Sequential([keras.Input((4, 4)), Svd()])
    with pytest.raises(RuntimeError, match=r"LiteRT has no tf\.Svd") as caught:
        export_tflite(model, path)
    assert "converter's log" in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int4"}, "'int8'.*received 'int4'"),
        ({"quantize": "int8"}, "representative_data=x_train"),
        ({"io_dtype": "int8"}, "Set both"),
        ({"io_dtype": "uint8"}, "received 'uint8'"),
        ({"batch_size": 0}, "received 0"),
        ({"tolerance": float("nan")}, "received nan"),
        ({"inputs": np.ones((4, 31))}, r"\(n, 30\), received \(4, 31\)"),
        ({"inputs": np.ones(30)}, r"\(n, 30\), received \(30,\)"),
        ({"inputs": np.ones((0, 30))}, "at least one"),
        ({"inputs": np.full((2, 30), np.nan)}, "received NaN"),
        ({"inputs": np.full((2, 30), "a")}, "expected numbers"),
        ({"inputs": {"x": np.ones((2, 30))}}, r"\['input_0'\], .*\['x'\]"),
        ({"inputs": 3}, "received int"),
        ({"inputs": iter(())}, "received none"),
        ({"inputs": [1.0, 2.0]}, "Yield an array"),
    ],
)
def test_arguments_that_do_not_fit(options, message, path):
    with pytest.raises(ValueError, match=message):
        export_tflite(dense(), path, **options)
    assert os.listdir(path.parent) == []


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


def test_another_ending_is_refused_and_the_file_there_kept(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"precious")
    with pytest.raises(ValueError, match="ends in '.tflite'"):
        export_tflite(dense(), path)
    assert path.read_bytes() == b"precious"
