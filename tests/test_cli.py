"""The commands, as a user types them."""

import json

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse import cli


@pytest.fixture
def model_file(tmp_path):
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    path = tmp_path / "model.keras"
    ks.save(ks.prune(model, 0.5), path)
    return str(path)


def test_inspect_prints_the_table(model_file, capsys):
    assert cli.main(["inspect", model_file]) == 0
    assert "50.00%" in capsys.readouterr().out


def test_inspect_export_benchmark_as_json(model_file, tmp_path, capsys):
    data = tmp_path / "x.npy"
    np.save(data, np.random.rand(20, 10).astype("float32"))
    out = str(tmp_path / "model.tflite")
    command = ["export", model_file, out, "--quantize", "int8", "--json"]
    assert cli.main([*command, "--representative-data", str(data)]) == 0
    assert json.loads(capsys.readouterr().out)["nonzeros"] == 50
    assert cli.main(["inspect", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["parameters"] >= 100
    assert cli.main(["benchmark", out, out, "--runs", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 2


def test_export_strips_a_sparse_model(tmp_path, capsys):
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    ks.save(model, tmp_path / "sparse.keras")
    out = tmp_path / "model.tflite"
    assert cli.main(["export", str(tmp_path / "sparse.keras"), str(out)]) == 0
    assert out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "missing.keras"],
        ["inspect", "README.md"],
        ["benchmark", "missing.tflite"],
        ["export", "missing.keras", "out.tflite"],
    ],
)
def test_a_mistake_is_one_line_and_status_1(arguments, capsys):
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("keras-sparse: ")
    assert "Traceback" not in error


def test_int8_asks_for_the_file_of_inputs(model_file, tmp_path, capsys):
    out = tmp_path / "m.tflite"
    command = ["export", model_file, str(out), "--quantize", "int8"]
    assert cli.main(command) == 1
    assert "--representative-data FILE" in capsys.readouterr().err
    assert not out.exists()
