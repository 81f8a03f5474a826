"""Counts of parameters, nonzeros and multiply-accumulates."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse.summary import model_macs
from keras_sparse.weight_table import Summary, WeightRow


def row(model, name):
    return next(r for r in ks.summary(model).rows if r.name.endswith(name))


def test_a_small_convolutional_net_by_hand():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    # 6 x 6 positions x 27 inputs x 4 outputs; 6 x 6 x 9 x 4; 144 x 10.
    macs = [r.macs for r in ks.summary(model).rows if r.macs is not None]
    assert macs == [3888, 1296, 1440]
    total = ks.summary(model).total
    assert total.macs == 6624
    assert total.parameters == model.count_params()
    assert total.size == 4 * model.count_params()


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (layers.Conv2D(4, 3, strides=2, padding="same"), (8, 8, 2), 16 * 72),
        (layers.Conv2D(4, 3, groups=2), (8, 8, 2), 36 * 36),
        (layers.Conv2DTranspose(4, 3, strides=2), (8, 8, 2), 64 * 72),
        (layers.Conv1D(4, 3, padding="causal"), (8, 2), 8 * 24),
        (layers.Conv3D(4, 2), (3, 3, 3, 2), 8 * 64),
        (layers.SeparableConv2D(4, 3), (8, 8, 2), 36 * (18 + 8)),
        (layers.LSTM(4), (5, 3), 5 * (48 + 64)),
        (layers.Bidirectional(layers.GRU(4)), (5, 3), 10 * (36 + 48)),
        (layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (5, 4), 5 * 24),
        (layers.TimeDistributed(layers.Dense(4)), (5, 3), 12),
        (layers.ConvLSTM2D(2, 2), (3, 4, 4, 2), 3 * 9 * 2 * 64),
    ],
)
def test_multiply_accumulates_of_a_layer(layer, shape, macs):
    model = keras.Sequential([keras.Input(shape), layer])
    assert ks.summary(model).total.macs == macs


def test_attention_counts_every_projection():
    x = keras.Input((5, 6))
    model = keras.Model(x, layers.MultiHeadAttention(2, 3)(x, x))
    assert ks.summary(model).total.macs == 4 * 5 * 6 * 6


def test_unknown_length_has_no_count():
    x = keras.Input((None, 6))
    model = keras.Model(x, layers.Dense(3)(layers.Embedding(9, 6)(x[..., 0])))
    assert row(model, "kernel").macs is None
    assert "MACs without 1 of the weights" in str(ks.summary(model))
    assert model_macs(model) is None


def test_a_sparse_model_counts_what_it_uses():
    model = keras.Sequential([keras.Input((10,)), layers.Dense(10)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    _, _, mask = next(ks.parametrized(model))
    mask.set_mask(np.eye(10))
    assert row(model, "kernel").nonzeros == 10
    assert ks.summary(model).total.parameters == 110
    assert "90.00%" in str(ks.summary(model))


def test_as_json():
    model = keras.Sequential([keras.Input((10,)), layers.Dense(10)])
    text = json.dumps(ks.summary(ks.prune(model, 0.5)).to_dict())
    assert json.loads(text)["total"]["nonzeros"] == 50


def test_files(tmp_path):
    model = keras.Sequential([keras.Input((10,)), layers.Dense(10)])
    ks.prune(model, 0.5)
    ks.save(model, tmp_path / "m.keras")
    assert ks.summary(tmp_path / "m.keras").total.nonzeros == 50
    ks.export_tflite(model, tmp_path / "m.tflite")
    assert ks.summary(tmp_path / "m.tflite").total.nonzeros == 50
    with pytest.raises(FileNotFoundError, match="no"):
        ks.summary(tmp_path / "none.keras")
    (tmp_path / "m.txt").write_text("")
    with pytest.raises(ValueError, match=".keras or .tflite"):
        ks.summary(tmp_path / "m.txt")


def test_unbuilt_model():
    with pytest.raises(ValueError, match="built"):
        ks.summary(keras.Sequential([layers.Dense(3)]))


@pytest.mark.parametrize("columns", [80, 100])
def test_the_table_of_a_file_fits_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    block = "net_0.35_96_1/block_{0}_depthwise"
    joined = (
        block + "_relu/Relu6;" + block + "_BN/mul_1;" + block + "/depthwise"
    )
    rows = [
        WeightRow(
            joined.format(i), "float32", (1, 3, 3, 336), 3024, 24, 10**8, 12096
        )
        for i in range(20)
    ]
    biases = [
        WeightRow(f"arith.constant{i}", "float32", (336,), 336, 336, None, 1344)
        for i in range(50)
    ]
    summary = Summary("net.tflite", (*biases, *rows))
    lines = str(summary).splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) < len(rows) + 8
    assert sum(line.startswith("block_") for line in lines) == 20
    assert any("50 biases etc." in line and "16,800" in line for line in lines)
    assert f"{50 * 336 + 20 * 24:,} of {50 * 336 + 20 * 3024:,}" in lines[-1]
    names = [row["name"] for row in summary.to_dict()["rows"]]
    assert names == [row.name for row in summary.rows]


def test_numbers_are_never_cut():
    row = WeightRow("a" * 90, "x" * 40, (10**6,) * 4, 10**15, 0, 10**18, 10**16)
    text = str(Summary("wide", (row,)))
    for number in (10**15, 10**18, 10**16):
        assert f"{number:,}" in text


@pytest.mark.parametrize(
    ("parametrization", "callback"),
    [(ks.Mask(), "Prune"), (ks.Feather(), "Threshold")],
)
def test_weights_that_wait_for_a_callback_are_told(parametrization, callback):
    model = keras.Sequential([keras.Input((10,)), layers.Dense(10)])
    ks.sparsify(model, parametrization, verbose=False)
    told = str(ks.summary(model)).splitlines()[-1]
    assert f"callbacks.{callback}(schedule)" in told
    ks.prune(ks.strip(model), 0.5)
    assert ks.summary(model).note is None
    ks.sparsify(model, ks.Mask(keep_zeros=True), verbose=False)
    assert ks.summary(model).note is None
    ks.strip(model)
    ks.sparsify(model, ks.QuantizationAware(), verbose=False)
    assert ks.summary(model).note is None
