"""benchmark_tflite: interleaved figures, and files it refuses."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_sparse.export._quiet import captured
from keras_sparse.export.tflite import export_tflite
from keras_sparse.export.timing import time_files as timing
from keras_sparse.export.timing.benchmark import benchmark_tflite


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for units in (8, 64):
        model = keras.Sequential(
            [
                keras.Input((16,), name="x"),
                layers.Dense(units),
                layers.Dense(2),
            ]
        )
        paths.append(folder / f"{units}.tflite")
        export_tflite(model, paths[-1])
    paths.append(folder / "int8.tflite")
    data = np.random.default_rng(0).random((20, 16))
    export_tflite(model, paths[-1], "int8", data, io_dtype="int8")
    return paths


def test_figures(files, capfd):
    result = benchmark_tflite(files, runs=5, warmup=1)
    assert capfd.readouterr() == ("", "")
    assert [row.path for row in result.rows] == [str(path) for path in files]
    assert result.rows[0].ratio == 1.0
    for row, path in zip(result.rows, files, strict=True):
        assert row.raw_bytes == path.stat().st_size
        assert 0 < row.gzip_bytes < row.raw_bytes
        assert min(row.load_ms, row.latency_ms, row.ratio) > 0
    assert json.loads(json.dumps(result.to_dict()))["runs"] == 5
    lines = str(result).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [
        path.name for path in files
    ]
    assert "median of 5 interleaved calls" in lines[-1]


def test_given_inputs(files):
    x = np.zeros((1, 16))
    for inputs in (x, {"x": x}):
        result = benchmark_tflite(
            files, runs=1, warmup=0, xnnpack=False, threads=2, inputs=inputs
        )
        assert len(result.rows) == 3
    with pytest.raises(ValueError, match=r"shape \(1, 16\).*\(16,\)"):
        benchmark_tflite(files[0], runs=1, inputs=np.zeros(16))
    with pytest.raises(ValueError, match=r"the names \['x'\].*\['y'\]"):
        benchmark_tflite(files[0], runs=1, inputs={"y": x})


@pytest.mark.parametrize(
    "options", [{"runs": 0}, {"warmup": -1}, {"threads": 0}]
)
def test_counts(files, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected"):
        benchmark_tflite(files, **options)
    with pytest.raises(ValueError, match="paths: expected 1"):
        benchmark_tflite([])


def test_a_damaged_file_is_refused(files, tmp_path, monkeypatch):
    def never(*_, **__):
        raise RuntimeError("run before it was read")

    monkeypatch.setattr(
        "keras_sparse.export.timing.benchmark.time_files", never
    )
    path = tmp_path / "damaged.tflite"
    path.write_bytes(files[0].read_bytes()[:900])
    with pytest.raises(ValueError, match="damaged.tflite.*export it again"):
        benchmark_tflite([files[0], path])


def test_an_operation_that_litert_has_not(files, tmp_path):
    path = tmp_path / "flex.tflite"
    function = tf.function(lambda x: tf.bitwise.bitwise_and(x, x + 1))
    with captured():
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function(tf.TensorSpec((1, 4), tf.int32))],
            tf.Module(),
        )
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.SELECT_TF_OPS,
        ]
        path.write_bytes(converter.convert())
    with pytest.raises(RuntimeError, match="flex.tflite.*Flex"):
        benchmark_tflite([files[0], path])


def test_a_crash_ends_the_trial_alone(files, monkeypatch, tmp_path):
    script = pathlib.Path(timing.SCRIPT).read_text()
    crash = tmp_path / "crash.py"
    crash.write_text(
        script.replace(
            "            model.invoke()",
            "            import os\n            number and os.abort()",
        )
    )
    monkeypatch.setattr(timing, "SCRIPT", str(crash))
    with pytest.raises(RuntimeError, match=r"64.tflite.*\(signal 6\)"):
        benchmark_tflite(files[:2])


def test_damaged_files_are_errors_not_crashes(files, tmp_path):
    content = files[1].read_bytes()
    path = tmp_path / "damaged.tflite"
    rng = np.random.default_rng(0)
    refused = ran = 0
    for turn in range(36):
        damaged = bytearray(content)
        places = rng.integers(8, len(content), 1 + turn % 12)
        if turn % 5 == 0:
            damaged = damaged[: rng.integers(8, len(content))]
        for place in places:
            if place < len(damaged):
                damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            benchmark_tflite(path, runs=1, warmup=0)
            ran += 1
        except (ValueError, RuntimeError) as error:
            assert "damaged.tflite" in str(error)
            refused += 1
    assert refused > 6
    assert ran > 3
