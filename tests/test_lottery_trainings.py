"""One training of a search: steps, logs, what it is compiled with."""

import math

import keras
import numpy as np
import pytest

from keras_sparse import lottery
from tests.ticket_search import compiling, data, fit, net, search


def test_metrics_with_a_value_for_each_class(tmp_path):
    x, y = data()
    y = np.eye(2)[y]
    given = {
        "fit": fit(y=y, epochs=1, validation_data=(x, y)),
        "rounds": 0,
        "test_data": (x, y),
        "checkpoint": tmp_path / "a.npz",
        "compile": compiling(
            loss="mse", metrics=[keras.metrics.F1Score(name="f1"), "mae"]
        ),
    }
    found = search(**given)
    training = found.rounds[0].training
    for logs in (training.logs, training.test, training.best_test):
        assert len(logs["f1"]) == 2 and 0 < logs["mae"]
    assert len(training.best_logs["val_f1"]) == 2
    assert "f1 [0." in str(found)
    with pytest.raises(ValueError, match="one number"):
        training.value("f1")
    assert search(**given).rounds[0].training == training


def test_an_epoch_that_ends_within_a_step_is_not_over_yet():
    # Epochs of 5 batches, steps of 2: the first epoch ends in the third step.
    found = search(
        rounds=1,
        rewind_step=2,
        compile=compiling(
            keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
        ),
    )
    dense, ticket = (each.training for each in found.rounds)
    assert dense.epoch_ends == [3, 5]
    assert dense.steps == ticket.steps == 5


@pytest.mark.parametrize("own", [False, True])
def test_weights_exempt_from_weight_decay_need_a_callable(own):
    optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = net()
    if own:
        model.compile(**compiling(optimizer))
    with pytest.raises(ValueError, match="weight_decay.*compile=a callable"):
        search(model, compile=None if own else compiling(optimizer))


def test_a_validation_loss_is_better_than_none():
    class Losses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["val_loss"] = [math.nan, 2.0, math.nan][epoch]

    found = search(
        rounds=0,
        fit=fit(epochs=3),
        callbacks=lambda: [Losses()],
    )
    assert found.rounds[0].training.best_step == 10


def result(density, accuracy):
    logs = {"accuracy": accuracy}
    training = lottery.Training(9, logs, None, {}, {}, {}, [9], 0.0)
    rounds = (lottery.Round(0, density, {}, {}, training, {}),)
    return lottery.FinetunedModel(None, rounds)


def test_figures_of_seeds_whose_densities_differ():
    pair = [result(0.2, 0.7), result(0.4, 0.9)]
    (line,) = lottery.plot_accuracy(pair).axes[0].containers
    x, y = line.lines[0].get_data()
    np.testing.assert_allclose([*x, *y], [30, 0.8])
    with pytest.raises(ValueError, match="a list of 2"):
        lottery.plot_densities(pair)
