"""read_tflite: what a file holds, and damaged files."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_sparse.export._quiet import captured
from keras_sparse.export.flatbuffer.tflite_file import TFLiteFile, read_tflite
from keras_sparse.export.tflite import export_tflite


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, bias_initializer="ones"),
            layers.DepthwiseConv2D(3),
            layers.Flatten(),
            layers.Dense(64, use_bias=False),
        ]
    )
    kernel = np.array(model.layers[0].kernel)
    kernel[:, :, 0] = 0
    model.layers[0].set_weights([kernel, np.ones(4)])
    return model


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    data = np.random.default_rng(0).random((20, 8, 8, 3))
    paths = {}
    for kind in (None, "float16", "dynamic", "int8"):
        paths[kind] = str(folder / f"{kind}.tflite")
        export_tflite(model, paths[kind], kind, data)
    return paths


@pytest.mark.parametrize("kind", [None, "float16", "dynamic", "int8"])
def test_weights_and_operations(files, kind):
    file = read_tflite(files[kind])
    with open(files[kind], "rb") as stream:
        assert file.raw_bytes == len(stream.read())
    # 6 x 6 positions of 3 x 3 x 3 to 4; 4 x 4 of 3 x 3 x 4; 64 to 64
    macs = {
        "CONV_2D": 36 * 27 * 4,
        "DEPTHWISE_CONV_2D": 16 * 9 * 4,
        "FULLY_CONNECTED": 64 * 64,
    }
    found = {op.name: op.macs for op in file.operators if op.macs}
    assert found == macs
    assert file.macs == sum(macs.values())
    rows = {row.shape: row for row in file.summary().rows}
    kernel = rows[4, 3, 3, 3]
    rounded = 4 if kind == "int8" else 0  # small weights become 0
    assert 36 <= kernel.parameters - kernel.nonzeros <= 36 + rounded
    assert kernel.macs == macs["CONV_2D"]
    width = {None: 4, "float16": 2, "dynamic": 1, "int8": 1}[kind]
    dense = rows[64, 64]
    assert dense.size == 4096 * width
    assert dense.macs == 4096
    assert file.nonzeros <= file.parameters
    main = file.tensors[0]
    assert [main[index].shape for index in file.inputs] == [(1, 8, 8, 3)]
    assert [main[index].shape for index in file.outputs] == [(1, 64)]


def test_macs_in_a_loop_are_not_known(tmp_path):
    path = tmp_path / "gru.tflite"
    model = keras.Sequential([keras.Input((6, 4)), layers.GRU(5)])
    export_tflite(model, path)
    file = read_tflite(path)
    assert any(op.macs for op in file.operators)
    assert file.macs is None


def test_a_sparse_tensor_counts_its_indices(tmp_path):
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(64, use_bias=False)]
    )
    kernel = np.array(model.layers[0].kernel)
    kernel[np.random.default_rng(0).random(kernel.shape) < 0.9] = 0
    model.layers[0].set_weights([kernel])
    path = tmp_path / "sparse.tflite"
    with captured():
        function = tf.function(lambda x: model(x)).get_concrete_function(
            tf.TensorSpec((1, 64))
        )
        holder = tf.Module()
        holder.used = list(function.variables)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function], holder
        )
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        path.write_bytes(converter.convert())
    nonzeros = np.count_nonzero(kernel)
    (row,) = read_tflite(path).summary().rows
    assert row.nonzeros == nonzeros
    assert row.parameters == 4096
    # 65 row starts and one column each, in one or two bytes
    assert 4 * nonzeros + 65 + nonzeros <= row.size < 4 * 4096
    assert row.size <= 4 * nonzeros + 2 * (65 + nonzeros)


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\0" * 100, b"PK\3\4" + b"x" * 100]
)
def test_other_files(tmp_path, content):
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="identifier 'TFL3'"):
        read_tflite(path)
    with pytest.raises(FileNotFoundError):
        read_tflite(tmp_path / "none.tflite")


def test_truncated_files(files, tmp_path):
    with open(files["int8"], "rb") as stream:
        content = stream.read()
    path = tmp_path / "cut.tflite"
    for length in range(0, len(content) - 8, len(content) // 80):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="Expected a .*tflite file"):
            read_tflite(path)


@pytest.mark.parametrize("kind", [None, "int8"])
def test_flipped_bytes_raise_nothing_else(files, kind, tmp_path):
    with open(files[kind], "rb") as stream:
        content = stream.read()
    path = tmp_path / "flipped.tflite"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(4, len(content), 20):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert isinstance(read_tflite(path), TFLiteFile)
        except ValueError as error:
            assert "damaged" in str(error) or "TFL3" in str(error)
            refused += 1
    assert refused > 50
