"""The entropy limit: bits worked out by hand, and its place in a report."""

import json
import math

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse.export.entropy import entropy_bits


@pytest.mark.parametrize(
    "values, bits",
    [
        # No mask to send, and one value of 8 bits.
        (np.int8([7, 7, 7, 7]), 8),
        (np.int8([0, 0, 0]), 0),
        # 8 h(1/2), then 4 values, .25 log 4 + .75 log(4/3) each, and a table
        # of two.
        (
            np.int8([0, 3, 0, 3, 0, 3, 0, -1]),
            8 + 4 * (0.25 * 2 + 0.75 * math.log2(4 / 3)) + 16,
        ),
        # Different floats are cheaper as they are: 4 h(3/4) + 3 * 32.
        (
            np.float32([0.1, 0.0, 0.2, 0.3]),
            4 * (0.25 * 2 + 0.75 * math.log2(4 / 3)) + 96,
        ),
        # Shared floats: 64 codes of one bit and two floats.
        (np.tile(np.float32([0.5, -0.5]), 32), 64 + 2 * 32),
        (np.tile(np.float16([0.5, -0.5]), 32), 64 + 2 * 16),
    ],
)
def test_by_hand(values, bits):
    assert entropy_bits(values) == pytest.approx(bits)
    assert entropy_bits(values.reshape(1, -1)) == pytest.approx(bits)


def model_of_one_half():
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(32, use_bias=False)]
    )
    kernel = np.zeros((64, 32), np.float32)
    kernel[::2] = 0.25
    model.layers[0].set_weights([kernel])
    return model


@pytest.mark.parametrize("quantize, bits", [(None, 32), ("float16", 16)])
def test_report_compares_with_the_limit(quantize, bits, tmp_path):
    path = tmp_path / "model.tflite"
    report = ks.export_tflite(
        model_of_one_half(), path, quantize, sparse="storage"
    )
    # One bit for each of 2048 zeros or not, and one value.
    assert report.entropy_bytes == (2048 + bits) / 8
    assert report.dense_bytes > report.raw_bytes == path.stat().st_size
    assert report.dense_gzip_bytes < report.dense_bytes
    text = str(report)
    assert f"{report.raw_bytes / report.entropy_bytes:.2f} times" in text
    assert f"gzip {report.dense_gzip_bytes / 1024:,.1f} KiB" in text
    told = json.loads(json.dumps(report.to_dict()))
    assert told["entropy_bytes"] == report.entropy_bytes
    assert told["dense_gzip_bytes"] == report.dense_gzip_bytes


def test_int8_counts_kernel_and_bias_but_no_scale(tmp_path):
    model = keras.Sequential([keras.Input((16,)), layers.Dense(4)])
    kernel = np.zeros((16, 4), np.float32)
    kernel[:4] = np.diag([1.0, 2.0, 3.0, 4.0])
    model.layers[0].set_weights([kernel, np.zeros(4)])
    data = np.random.default_rng(0).normal(size=(20, 16))
    report = ks.export_tflite(model, tmp_path / "m.tflite", "int8", data)
    # 4 of 64 entries, all 127 by their channels' scales; a bias of zeros.
    share = 1 / 16
    h = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    assert report.entropy_bytes == math.ceil((64 * h + 8) / 8)
