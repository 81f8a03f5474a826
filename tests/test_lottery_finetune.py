"""Train, prune, finetune: thresholds, learning rates, dead units."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse import lottery
from keras_sparse.lottery.masks.next_masks import by_deviation

X = np.ones((8, 4), "float32")


def net():
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="a"), layers.Dense(2)]
    )


def run(model, rate_of_learning=0.2, **arguments):
    given = {
        "fit": {"x": X, "y": np.zeros((8, 2)), "verbose": 0},
        "rounds": 1,
        "compile": {
            "optimizer": keras.optimizers.SGD(rate_of_learning),
            "loss": "mse",
            "run_eagerly": True,
        },
        "verbose": False,
        **arguments,
    }
    return lottery.train_prune_finetune(model, **given)


class Note(keras.callbacks.Callback):
    def __init__(self, noted):
        super().__init__()
        self.noted = noted

    def on_train_begin(self, logs=None):
        kernel = self.model.get_layer("a").kernel.numpy()
        rate = float(self.model.optimizer.learning_rate)
        self.noted.append([kernel, rate])

    def on_train_end(self, logs=None):
        self.noted[-1].append(self.model.get_layer("a").kernel.numpy())


def test_weights_are_kept_and_the_learning_rate_falls():
    noted = []
    done = run(net(), rounds=2, rate=0.5, callbacks=lambda: [Note(noted)])
    (_, first, before), (start, second, after), (last, _, end) = noted
    assert first == pytest.approx(0.2) and second == pytest.approx(0.02)
    kept = start != 0
    assert kept.sum() == 8
    np.testing.assert_array_equal(start, before * kept)
    assert np.abs(before[~kept]).max() <= np.abs(before[kept]).min()
    np.testing.assert_array_equal(last, after * (last != 0))
    assert not end[last == 0].any()
    assert [each.density for each in done.rounds] == [1.0, 0.5, 0.25]
    np.testing.assert_array_equal(done.model.get_layer("a").kernel, end)
    assert not list(ks.parametrized(done.model))
    assert float(done.model.optimizer.learning_rate) == pytest.approx(0.2)


def test_schedules_start_over_lower():
    rates = []

    class Rates(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    schedule = keras.optimizers.schedules.ExponentialDecay(0.4, 1, 0.5)
    run(
        net(),
        schedule,
        finetune={"epochs": 2},
        learning_rate_factor=0.01,
        callbacks=lambda: [Rates()],
    )
    assert rates == pytest.approx([0.4, 0.004, 0.002])


def test_thresholds_in_deviations_of_what_is_left():
    # The deviation is sqrt(5); of the six that are left, sqrt(17/3).
    weight = np.array([-3.0, -1.0, 1.0, 3.0, 3.0, -3.0, 1.0, -1.0])
    weights, ones = [weight], {0: np.ones(8, bool)}
    masks = by_deviation({0: 0.45})(weights, ones)
    assert masks[0].tolist() == (np.abs(weight) > 1).tolist()
    assert by_deviation({0: 0.44})(weights, ones)[0].all()
    # What is left of those, +-3, has deviation 3: no one is below .9 * 3,
    # all are below 1.1 * 3, and the last one stays.
    again = by_deviation({0: 0.9})(weights, masks)
    np.testing.assert_array_equal(again[0], masks[0])
    assert by_deviation({0: 1.1})(weights, masks)[0].sum() == 1


def test_thresholds_of_layers():
    model = net()
    kernel = np.full((4, 4), 2.0) * [[1, -1, 1, -1]]
    kernel[0] /= 20
    model.get_layer("a").kernel.assign(kernel)
    done = run(
        model,
        fit={"x": X, "y": np.zeros((8, 2)), "epochs": 0, "verbose": 0},
        finetune={"epochs": 1},
        q={"a/": 0.5},
    )
    assert list(done.rounds[1].densities.values()) == [0.75, 1.0]


def test_dead_units_are_counted():
    model = net()
    first = np.arange(1.0, 17.0).reshape(4, 4)
    first[:, 1] = 0.001  # nothing reaches unit 1
    first[2] = 0.001  # nothing leaves input 2
    model.get_layer("a").kernel.assign(first)
    model.layers[1].kernel.assign(
        [[1.0, 2.0], [3.0, 4.0], [0.001, 0.001], [5.0, 6.0]]
    )
    done = run(
        model,
        fit={"x": X, "y": np.zeros((8, 2)), "epochs": 0, "verbose": 0},
        q=0.01,
        callbacks=list,
    )
    assert list(done.rounds[0].dead.values()) == [(0, 0), (0, 0)]
    assert list(done.rounds[1].dead.values()) == [(1, 1), (0, 1)]
    assert "units without input: 1" in str(done)


def test_inputs_of_a_depthwise_kernel_are_channels():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.DepthwiseConv2D(2, depth_multiplier=2, name="dw"),
            layers.Flatten(),
        ]
    )
    kernel = np.ones((2, 2, 2, 2))
    kernel[0] = 0.001  # two of the window's four
    kernel[..., 1, :] = 0.001  # channel 1, of which 2 outputs are made
    kernel[..., 0, 1] = 0.001  # one of the outputs of channel 0
    model.get_layer("dw").kernel.assign(kernel)
    x = np.ones((4, 4, 4, 2))
    fit = {"x": x, "y": np.ones((4, 36)), "epochs": 0, "verbose": 0}
    done = run(model, fit=fit, q=0.1)
    assert list(done.rounds[1].dead.values()) == [(3, 1)]


def test_a_killed_run_goes_on(tmp_path):
    def go(path, rounds):
        keras.utils.set_random_seed(1)
        x = np.random.default_rng(0).normal(size=(32, 4))
        fit = {"x": x, "y": x[:, :2], "batch_size": 8, "verbose": 0}
        return run(
            net(), fit=fit, rounds=rounds, q=0.4, checkpoint=path, seed=2
        )

    go(tmp_path / "a.npz", 1)
    resumed, whole = go(tmp_path / "a.npz", 3), go(None, 3)
    for a, b in zip(
        resumed.model.get_weights(), whole.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(resumed.rounds, whole.rounds, strict=True):
        assert list(a.dead.values()) == list(b.dead.values())
        assert a.density == b.density and a.training.logs == b.training.logs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0.5, "q": 1.0}, "Received both"),
        ({"rate": 1.5}, r"\[0, 1\)"),
        ({"q": -1.0}, "0 or more"),
        ({"q": {"b": 1.0}}, "key of `q`"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        run(net(), **arguments)
