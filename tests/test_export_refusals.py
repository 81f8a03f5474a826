"""export_tflite: what it refuses, and that nothing is half written."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_sparse as ks
from keras_sparse import _atomic
from keras_sparse.export import _litert, tflite
from keras_sparse.export.tflite import export_tflite
from tests.export_models import (
    convolutional,
    dense,
    typical,
)

KINDS = [None, "float16", "dynamic", "int8"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


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


def test_another_ending_is_refused_and_the_file_there_kept(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"precious")
    with pytest.raises(ValueError, match="ends in '.tflite'"):
        export_tflite(dense(), path)
    assert path.read_bytes() == b"precious"
