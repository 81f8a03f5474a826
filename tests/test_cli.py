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


def export(model_file, tmp_path, *options):
    out = tmp_path / "m.tflite"
    return cli.main(["export", model_file, str(out), *options]), out


def test_export_of_an_int8_file_with_labels(model_file, tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(40, 10)).astype("float32")
    model = keras.saving.load_model(model_file)
    np.savez(tmp_path / "x.npz", x)  # one array, under a name of numpy's
    np.save(tmp_path / "y.npy", model.predict(x, verbose=0).argmax(axis=1))
    files = [str(tmp_path / name) for name in ("x.npz", "y.npy")]
    status, out = export(
        model_file,
        tmp_path,
        *("--quantize", "int8", "--io-dtype", "int8", "--batch-size", "8"),
        *("--representative-data", files[0]),
        *("--inputs", files[0], "--labels", files[1], "--json"),
    )
    assert status == 0
    report = json.loads(capsys.readouterr().out)
    assert report["accuracy"]["keras"] == 1.0
    assert report["accuracy"]["xnnpack"] > 0.8
    assert (report["batch_size"], report["samples"]) == (8, 40)
    file = ks.export.read_tflite(out)
    (index,) = file.inputs
    assert file.tensors[0][index].dtype == "int8"
    assert file.tensors[0][index].shape == (8, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "y.npy"], "Pass --inputs FILE"),
        (["--io-dtype", "int8"], "--io-dtype int8 expected --quantize int8"),
        (["--inputs", "none.npy"], "--inputs expected a .npy or .npz file"),
        (["--inputs", "text.npy"], "--inputs expected a .npy or .npz file"),
        (["--inputs", "narrow.npy"], "--inputs, input"),
        (["--batch-size", "0"], "--batch-size: expected"),
        (["--objective", "gzip"], "--objective: expected"),
        (["--inputs", "x.npy", "--labels", "two.npz"], "['a', 'b']"),
        (["--inputs", "x.npy", "--labels", "few.npy"], "--labels: expected"),
    ],
)
def test_errors_name_the_option(
    options, message, model_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npy").write_text("no numbers")
    np.save("x.npy", np.zeros((4, 10)))
    np.save("narrow.npy", np.zeros((4, 9)))
    np.save("few.npy", np.zeros(3, int))
    np.savez("two.npz", a=np.zeros(4), b=np.zeros(4))
    status, out = export(model_file, tmp_path, *options)
    assert status == 1 and not out.exists()
    assert message in capsys.readouterr().err
