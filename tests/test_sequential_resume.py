"""Sequential runs that were cut off, and what they are known by."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks


def net(width=6, dtype="float32"):
    """A residual block with Dropout and BatchNorm, named by Keras."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    try:
        x = inputs = keras.Input((5,))
        x = layers.Dense(width)(x)
        y = layers.BatchNormalization()(x)
        y = layers.Dropout(0.5)(layers.Dense(width, "relu")(y))
        x = layers.Add()([x, y])
        model = keras.Model(inputs, layers.Dense(1)(x))
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


X = np.random.default_rng(0).normal(size=(32, 5)).astype("float32")
FIT = {"x": X, "y": X[:, :1], "batch_size": 16, "verbose": 0}


def run(model, choice=None, **arguments):
    given = {"fit": FIT, "verbose": False, **arguments}
    return ks.sequential.sparsify_blocks(model, choice, **given)


class StopAt(keras.callbacks.Callback):
    """Interrupts the training of the turn with this number."""

    def __init__(self, counts, turn):
        super().__init__()
        self.counts, self.turn = counts, turn

    def on_epoch_end(self, epoch, logs=None):
        self.counts.append(epoch)
        if len(self.counts) > self.turn:
            raise KeyboardInterrupt


def interrupted(model, turn, **arguments):
    counts = []
    with pytest.raises(KeyboardInterrupt):
        run(model, callbacks=lambda: [StopAt(counts, turn)], **arguments)


def test_resumed_in_the_second_sweep_ends_the_same(tmp_path):
    path = tmp_path / "progress.npz"
    whole = net()
    expected = run(whole, sweeps=2)
    interrupted(net(), 2, sweeps=2, checkpoint=path)
    resumed = net()  # whose layers have other names
    reports = run(resumed, sweeps=2, checkpoint=path)
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [r.sweep for r in reports] == [0, 0, 1, 1]
    assert [r.sparsity for r in reports] == [r.sparsity for r in expected]
    assert {r.name for r in reports} <= {
        "head",
        *(layer.name for layer in resumed.layers),
    }
    assert not resumed.compiled
    # A finished run is not repeated.
    assert len(run(net(), sweeps=2, checkpoint=path)) == 4


def test_other_runs_are_refused(tmp_path):
    path = tmp_path / "progress.npz"
    interrupted(net(), 1, checkpoint=path)
    before = path.read_bytes()

    def refuses(match, model=None, *args, **arguments):
        model = model or net()
        weights = model.get_weights()
        with pytest.raises(ValueError, match="of this run") as raised:
            run(model, *args, checkpoint=path, **arguments)
        assert match in str(raised.value)
        for a, b in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert model.compiled

    refuses("sweeps should be 2 and is 1", sweeps=2)
    refuses("seed", seed=1)
    refuses("weights/0/1", net(7))
    refuses("parametrization", None, ks.Mask())
    refuses("parametrization/1/log_sigma2", None, ks.Gaussian(log_sigma2=-9.0))
    refuses("head", head="auxiliary")
    refuses("sparse", exclude=lambda layer: layer.units == 1)
    refuses("fit/batch_size", fit={**FIT, "batch_size": 8})
    refuses("recalibration", recalibration=X)
    for other in (
        {"optimizer": keras.optimizers.Adam(0.1), "loss": "mse"},
        lambda each: each.compile(keras.optimizers.Adam(0.1), "mse"),
    ):
        refuses("compile/optimizer/config/learning_rate", compile=other)
    assert path.read_bytes() == before
    same = {"optimizer": keras.optimizers.Adam(0.01), "loss": "mse"}
    assert len(run(net(), checkpoint=path, compile=same)) == 2
    path.write_bytes(b"no zip file")
    with pytest.raises(ValueError, match="Delete it"):
        run(net(), checkpoint=path)


def test_numbers_of_numpy_in_a_config(tmp_path):
    path = tmp_path / "progress.npz"
    choice = ks.Gaussian(log_sigma2=np.float32(-8))
    interrupted(net(), 1, choice=choice, checkpoint=path)
    assert len(run(net(), choice, checkpoint=path)) == 2


def test_bfloat16(tmp_path):
    path = tmp_path / "progress.npz"
    model = net(dtype="bfloat16")
    run(model, checkpoint=path)
    again = net(dtype="bfloat16")
    run(again, checkpoint=path)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        assert a.dtype == b.dtype == "bfloat16"
        np.testing.assert_array_equal(a.view("uint16"), b.view("uint16"))


@pytest.mark.parametrize("data", [iter([X]), (batch for batch in [X])])
def test_recalibration_data_that_can_be_read_once(data):
    before = (model := net()).get_weights()
    with pytest.raises(ValueError, match="can be read after each group"):
        run(model, recalibration=data)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_recalibration_without_normalization():
    x = inputs = keras.Input((5,))
    x = x + layers.Dense(5)(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile("adam", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match="Leave `recalibration` out"):
        run(model, recalibration=X)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_group_outlives_a_recalibration_that_fails(tmp_path):
    path = tmp_path / "progress.npz"
    with pytest.raises(ValueError, match="at least one batch"):
        run(net(), recalibration=[], checkpoint=path)
    whole, resumed, turns = net(), net(), []
    run(whole, recalibration=X)
    run(
        resumed,
        recalibration=X,
        checkpoint=path,
        callbacks=lambda: turns.append(1) or [],
    )
    assert len(turns) == 1  # of two
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
