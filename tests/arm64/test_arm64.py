"""Exported files on ARM64: right, sparse where said so, hazards refused.

Runs where an ARM64 processor or the emulated one of `make test-arm64` is.
"""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.export._convert import convert
from keras_sparse.export._signature import model_signature
from keras_sparse.export.arm64.run import Arm64Job, is_available, run_on_arm64
from keras_sparse.export.flatbuffer.graph import FlatbufferGraph
from keras_sparse.export.sparse import sparse_file
from keras_sparse.export.tflite import export_tflite
from keras_sparse.export.xnnpack.rules import (
    XNNPACKReport,
    check_graph,
    xnnpack_report,
)
from keras_sparse.export.xnnpack.sparse_ready import sparse_ready
from tests.mobile_nets import FIT, HAZARD, OFF, mobile_net, prune

pytestmark = pytest.mark.skipif(
    not is_available(),
    reason="NO ARM64 PROCESSOR HERE, nor an emulated one: make test-arm64",
)
SETUPS = {"xnnpack", "builtin", "arm64 xnnpack", "arm64 builtin"}


def forced(content, monkeypatch):
    """Encode with DENSIFY even where the rules say that it is wrong."""
    with monkeypatch.context() as patch:
        patch.setattr(XNNPACKReport, "hazard", False)
        return sparse_file.encode(content, "storage").content


def dense_files(table):
    for options in table.values():
        model = mobile_net(**options)
        signature = model_signature(model)
        yield model, signature, *convert(model, signature)


@pytest.mark.parametrize("quantize", [None, "float16", "dynamic", "int8"])
@pytest.mark.parametrize("kind", ["dense layers", "convolutions"])
def test_every_kind_is_right(kind, quantize, tmp_path):
    keras.utils.set_random_seed(0)
    if kind == "convolutions":
        model, shape = mobile_net(**FIT["plain"]), (16, 16, 3)
    else:
        shape = (128,)
        model = keras.Sequential(
            [
                keras.Input(shape),
                layers.Dense(64, activation="relu"),
                layers.Dense(64, activation="relu", use_bias=False),
                layers.Dense(5),
            ]
        )
        prune(model, 0.9)
    data = np.random.default_rng(0).random((40, *shape))
    for sparse in (None, "storage", "fast"):
        report = export_tflite(
            model,
            tmp_path / "m.tflite",
            quantize,
            data,
            inputs=data[:4],
            sparse=sparse,
            verify="arm64",
        )
        assert set(report.relative_difference) == SETUPS
    assert report.raw_bytes <= report.dense_bytes


def test_sparse_where_said_so(tmp_path):
    """A zero weight meets infinity: only a sparse product leaves it out.

    0 * inf is NaN in a dense product. Channel 0 of the features is
    infinite, and no 1x1 kernel looks at it.
    """
    jobs, ready = [], []
    for name, options in {**FIT, **OFF}.items():
        if "squeeze" in name or "stride 1" in name:
            continue
        for encode in (True, False):
            model = mobile_net(**options)
            _make_infinite(model)
            signature = model_signature(model)
            content, outputs = convert(model, signature)
            if encode:
                content = sparse_file.encode(content, "storage").content
            path = tmp_path / f"{len(jobs)}.tflite"
            path.write_bytes(content)
            image = [np.ones((1, 16, 16, 3), "float32")]
            jobs.append(
                Arm64Job(path, "xnnpack", signature.names, image, outputs)
            )
            ready.append((name, xnnpack_report(path).engaged))
    results = run_on_arm64(jobs)
    for (name, engaged), result in zip(ready, results, strict=True):
        assert np.isfinite(result.outputs[0]).all() == engaged, name
    assert sum(engaged for _, engaged in ready) >= 5


def _make_infinite(model):
    """Let channel 0 overflow in the depthwise layer before a 1x1 kernel."""
    first = True
    for layer in model.layers:
        if type(layer) is layers.Conv2D and layer.kernel_size == (1, 1):
            kernel = np.array(layer.get_weights()[0])
            kernel[:, :, 0] = 0
            layer.set_weights([kernel, *layer.get_weights()[1:]])
        if isinstance(layer, layers.DepthwiseConv2D) and first:
            weights = layer.get_weights()
            weights[0][:, :, 0] = 3e38
            layer.set_weights(weights)
            first = False
        if isinstance(layer, layers.ReLU):  # a plain one would drop NaN
            layer.max_value, layer.negative_slope = None, 1.0


def test_hazards_are_refused_and_wrong_when_forced(tmp_path, monkeypatch):
    jobs, wanted = [], []
    data = 4 * np.random.default_rng(0).standard_normal((2, 16, 16, 3))
    data = data.astype("float32")
    for model, signature, content, outputs in dense_files(HAZARD):
        refused = sparse_file.encode(content, "storage")
        assert "wrong outputs on ARM64" in refused.refused
        assert not check_graph(FlatbufferGraph(refused.content)).encoded
        for encoded in (refused.content, forced(content, monkeypatch)):
            path = tmp_path / f"{len(jobs)}.tflite"
            path.write_bytes(encoded)
            jobs.append(
                Arm64Job(path, "xnnpack", signature.names, [data], outputs)
            )
        wanted.append(np.asarray(model(data)))
    results = run_on_arm64(jobs)
    for name, want, safe, hazard in zip(
        HAZARD, wanted, results[::2], results[1::2], strict=True
    ):
        scale = np.abs(want).max()
        assert np.abs(safe.outputs[0] - want).max() < 5e-6 * scale, name
        assert np.abs(hazard.outputs[0] - want).max() > 2e-5 * scale, name


def test_a_wrong_file_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(XNNPACKReport, "hazard", False)
    path = tmp_path / "m.tflite"
    with pytest.raises(RuntimeError, match=r"Not written.*arm64 xnnpack"):
        export_tflite(
            mobile_net(**HAZARD["max pooling"]),
            path,
            sparse="storage",
            verify="arm64",
        )
    assert not path.exists()


def test_a_mended_model_is_sparse_and_right(tmp_path):
    model = mobile_net(
        stem=OFF["same stem"]["stem"], body=HAZARD["same, stride 2"]["body"]
    )
    ready = sparse_ready(model)
    path = tmp_path / "m.tflite"
    report = export_tflite(ready, path, sparse="fast", verify="arm64")
    assert xnnpack_report(path).engaged
    assert set(report.relative_difference) == SETUPS
