"""Sparse encodings by hand, and files that are never larger nor wrong."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from keras_sparse.export import _litert
from keras_sparse.export._convert import convert
from keras_sparse.export._signature import model_signature
from keras_sparse.export.flatbuffer.graph import FlatbufferGraph
from keras_sparse.export.flatbuffer.tflite_file import read_tflite
from keras_sparse.export.sparse import sparse_file
from keras_sparse.export.sparse.layout import compressed, narrow, smallest
from keras_sparse.export.tflite import export_tflite
from tests.mobile_nets import HAZARD, mobile_net, prune

KINDS = [None, "float16", "dynamic", "int8"]
LIMITS = {None: 1e-5, "float16": 1e-2, "dynamic": 0.1, "int8": 0.3}


def test_rows_and_blocks_by_hand():
    array = np.zeros((3, 8), "float32")
    array[0, 1], array[2, 6:] = 5, (7, 9)
    rows = compressed(array)
    assert rows.segments.tolist() == [0, 1, 1, 3]
    assert rows.indices.tolist() == [1, 6, 7]
    assert rows.values.tolist() == [5, 7, 9]
    assert rows.nbytes == 4 + 3 + 3 * 4
    blocks = compressed(array, block=4)
    assert blocks.segments.tolist() == [0, 1, 1, 2]
    assert blocks.indices.tolist() == [0, 1]
    assert blocks.values.tolist() == [0, 5, 0, 0, 0, 0, 7, 9]
    with pytest.raises(ValueError, match="multiple of 3"):
        compressed(array, block=3)


def test_indices_are_as_narrow_as_they_can_be():
    for top, dtype in ((255, "uint8"), (256, "uint16"), (65536, "int32")):
        assert narrow(np.array([0, top])).dtype == dtype


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.floats(0, 1),
    st.integers(0, 3),
)
def test_layouts_hold_what_they_were_given(shape, sparsity, seed):
    rng = np.random.default_rng(seed)
    array = rng.integers(1, 9, shape) * (rng.random(shape) >= sparsity)
    best = smallest(array)
    np.testing.assert_array_equal(best.to_dense(), array)
    assert best.nbytes <= compressed(array).nbytes
    wide = np.repeat(array, 4, axis=-1)
    blocks = compressed(wide, block=4)
    np.testing.assert_array_equal(blocks.to_dense(), wide)


def random_model(rng):
    """A net of a few layers, its zeros in one of five patterns."""
    sparsity = rng.choice([0, 0.3, 0.5, 0.67, 0.8, 0.9, 0.95, 0.99])
    pattern = rng.choice(["any", "rows", "columns", "blocks", "some layers"])
    keras.utils.set_random_seed(int(rng.integers(1000)))
    if rng.random() < 0.5:
        sizes = rng.choice([7, 16, 40, 300], 3)
        parts = [keras.Input((int(sizes[0]),))]
        for size in sizes[1:]:
            bias = bool(rng.random() < 0.7)
            parts.append(layers.Dense(int(size), "relu", use_bias=bias))
    else:
        filters = [int(n) for n in rng.choice([3, 8, 24], 2)]
        parts = [
            keras.Input((6, 6, filters[0])),
            layers.Conv2D(filters[1], int(rng.choice([1, 3])), padding="same"),
            layers.DepthwiseConv2D(3, strides=int(rng.choice([1, 2]))),
            layers.ReLU(),
            layers.Flatten(),
        ]
    model = keras.Sequential([*parts, layers.Dense(4, name="top")])
    for weight in model.trainable_weights:
        shape = tuple(weight.shape)
        if len(shape) == 1 or (pattern == "some layers" and rng.random() < 0.5):
            continue
        if pattern == "rows":
            shape = (*shape[:-2], shape[-2], 1)
        elif pattern == "columns":
            shape = (*[1] * (len(shape) - 1), shape[-1])
        kept = rng.random(shape) >= sparsity
        if pattern == "blocks":
            kept = np.repeat(kept[..., ::4, :], 4, -2)[..., : shape[-2], :]
        weight.assign(keras.ops.convert_to_numpy(weight) * kept)
    return model


@pytest.mark.parametrize("quantize", KINDS)
def test_never_larger_and_never_wrong(quantize, tmp_path):
    encoded = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        model = random_model(rng)
        signature = model_signature(model)
        data = [rng.random((20, *signature.shapes[0])).astype("float32")]
        dense, outputs = convert(
            model, signature, quantize=quantize, samples=data
        )
        wants = {}
        path = tmp_path / "m.tflite"
        for setup in _litert.SETUPS:
            path.write_bytes(dense)
            try:
                (wants[setup],) = _litert.run(
                    path, setup, signature.names, data, outputs, 1
                )
            except RuntimeError:  # XNNPACK refuses some dense int8 files
                assert (quantize, setup) == ("int8", "xnnpack")
        for mode in ("storage", "fast"):
            file = sparse_file.encode(dense, mode)
            encoded += len(file.encoded)
            assert len(file.content) <= len(dense)
            assert (len(file.content) < len(dense)) == bool(file.encoded)
            for each in file.encoded:
                assert each.sparse_bytes < each.dense_bytes
            path.write_bytes(file.content)
            for setup, want in wants.items():
                (got,) = _litert.run(
                    path, setup, signature.names, data, outputs, 1
                )
                scale = max(float(np.sqrt(np.mean(want**2))), 1e-3)
                gap = float(np.sqrt(np.mean((got - want) ** 2))) / scale
                assert gap < LIMITS[quantize], (seed, mode, setup)
    assert encoded > 5


@pytest.mark.parametrize("quantize", KINDS)
def test_the_zeros_are_in_the_file(quantize, tmp_path):
    model = prune(
        keras.Sequential([keras.Input((256,)), layers.Dense(64)]), 0.95
    )
    data = np.random.default_rng(0).random((20, 256))
    path = tmp_path / "m.tflite"
    report = export_tflite(model, path, quantize, data, sparse="storage")
    (weight,) = report.encoded
    assert weight.encoding == "CSR"
    assert report.raw_bytes < report.dense_bytes
    rows = [row for row in read_tflite(path).summary().rows if row.macs]
    (row,) = rows
    rounded = 60 if "float" not in row.kind else 0
    nonzeros = np.count_nonzero(model.layers[0].kernel)
    assert nonzeros - rounded <= row.nonzeros <= nonzeros
    assert row.size == weight.sparse_bytes
    assert "as CSR" in str(report)


def lenet(sparsity=0.9):
    keras.utils.set_random_seed(0)
    return prune(
        keras.Sequential(
            [
                keras.Input((784,)),
                layers.Dense(300, "relu", bias_initializer="ones"),
                layers.Dense(100, "relu", bias_initializer="ones"),
                layers.Dense(10),
            ]
        ),
        sparsity,
    )


def test_int8_lenet_300_100_takes_at_most_92_kib(tmp_path):
    data = np.random.default_rng(0).random((40, 784))
    for quantize in ("dynamic", "int8"):
        report = export_tflite(
            lenet(), tmp_path / "m.tflite", quantize, data, sparse="storage"
        )
        assert report.raw_bytes <= 92 * 1024


def test_blocks_where_they_pay(tmp_path):
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64)])
    kernel, bias = model.layers[0].get_weights()
    rng = np.random.default_rng(0)
    kernel *= np.repeat(rng.random((16, 64)) < 0.1, 4, axis=0)
    model.layers[0].set_weights([kernel, bias])
    path = tmp_path / "m.tflite"
    fast = export_tflite(model, path, sparse="fast")
    assert [each.encoding for each in fast.encoded] == ["1x4 blocks"]
    names = [operator.name for operator in read_tflite(path).operators]
    assert names == ["FULLY_CONNECTED"]
    half = export_tflite(model, path, "float16", sparse="fast")
    assert [each.encoding for each in half.encoded] == ["CSR"]


def test_fast_leaves_int8_products_alone(tmp_path):
    data = np.random.default_rng(0).random((40, 784))
    report = export_tflite(
        lenet(), tmp_path / "m.tflite", "dynamic", data, sparse="fast"
    )
    kinds = {each.name: each.dense_bytes for each in report.encoded}
    assert sum(kinds.values()) < 10_000  # the small float32 head alone


@pytest.mark.parametrize("objective", ["bytes", "gzip", "latency"])
def test_auto_keeps_the_best(objective, tmp_path):
    path = tmp_path / "m.tflite"
    report = export_tflite(
        lenet(), path, "dynamic", sparse="auto", objective=objective
    )
    assert set(report.candidates) == {"dense", "storage", "fast"}
    assert report.sparse == next(iter(report.candidates))
    assert report.raw_bytes == path.stat().st_size
    if objective == "latency":
        return
    best = min(report.candidates.values())
    assert report.candidates[report.sparse] == best
    assert best == getattr(
        report, {"bytes": "raw_bytes", "gzip": "gzip_bytes"}[objective]
    )


def test_auto_drops_what_is_wrong(tmp_path, monkeypatch):
    true = sparse_file.encode

    def damaged(content, mode):
        file = true(content, mode)
        graph = FlatbufferGraph(file.content)
        for tensor in graph.tensors:
            if tensor.sparsity is not None:
                held = graph.model.buffers[tensor.buffer]
                held.data = np.roll(held.data, 4)
        return sparse_file.SparseFile(mode, graph.pack(), file.encoded)

    monkeypatch.setattr("keras_sparse.export._candidates.encode", damaged)
    path = tmp_path / "m.tflite"
    report = export_tflite(lenet(), path, sparse="auto")
    assert report.sparse == "dense"
    assert "Not written" in report.failed["storage"]
    path.write_bytes(b"the file before")
    with pytest.raises(RuntimeError, match="Not written"):
        export_tflite(lenet(), path, sparse="storage")
    assert path.read_bytes() == b"the file before"


def test_densify_is_refused_with_the_reason(tmp_path):
    model = mobile_net(**HAZARD["max pooling"])
    report = export_tflite(model, tmp_path / "m.tflite", sparse="storage")
    assert "MAX_POOL_2D" in report.refused
    assert "wrong outputs on ARM64" in str(report)
    assert not any(each.encoding == "CSR" for each in report.encoded)


@pytest.mark.parametrize(
    "options", [{"sparse": "csr"}, {"objective": "size"}, {"verify": "phone"}]
)
def test_unknown_choices(options, tmp_path):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}: expected one of"):
        export_tflite(lenet(), tmp_path / "m.tflite", **options)


def test_packing_changes_nothing(tmp_path):
    model = lenet()
    signature = model_signature(model)
    content, _ = convert(model, signature, quantize="dynamic")
    packed = FlatbufferGraph(content).pack()
    assert len(packed) <= len(content) + 256
    one, other = tmp_path / "one.tflite", tmp_path / "other.tflite"
    one.write_bytes(content)
    other.write_bytes(packed)
    assert read_tflite(one).tensors == read_tflite(other).tensors
    assert read_tflite(one).operators == read_tflite(other).operators
    base = np.frombuffer(packed, "uint8").ctypes.data
    buffers = FlatbufferGraph(packed).model.buffers
    starts = [
        each.data.ctypes.data - base
        for each in buffers
        if each.data is not None and len(each.data)
    ]
    assert len(starts) > 3
    assert {start % 16 for start in starts} == {0}
