"""A search that is killed goes on; one that fails leaves nothing behind."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_sparse as ks
from keras_sparse import lottery
from tests.ticket_search import (
    compiling,
    data,
    net,
    search,
)


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    """Raises in one of the trainings."""

    def __init__(self, count, at):
        super().__init__()
        self.count, self.at = count, at

    def on_train_batch_end(self, batch, logs=None):
        if self.count[0] == self.at:
            raise Killed

    def on_train_begin(self, logs=None):
        self.count[0] += 1


def shuffled():
    """Data whose order is a state of its own, made for each training."""
    x, y = data()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(40).batch(8)
    return {
        "x": dataset,
        "epochs": 2,
        "shuffle": False,
        "verbose": 0,
        "validation_data": (x, y),
    }


# The trainings: dense, round 1, round 2, and its control.
@pytest.mark.parametrize(
    ("rewind", "rounds", "killed_in", "eagerly"),
    [
        ("weights", 1, 2, False),
        ("learning_rate", 2, 3, True),
        ("weights", 2, 4, True),
    ],
)
def test_a_killed_search_ends_at_the_same_bits(
    tmp_path, rewind, rounds, killed_in, eagerly
):
    def run(path, callbacks=list):
        return lottery.find_ticket(
            lambda: net(dropout=0.3),
            shuffled,
            rounds=rounds,
            rate=0.5,
            rewind=rewind,
            rewind_step=4,
            compile=compiling(run_eagerly=eagerly),
            callbacks=callbacks,
            test_data=data(),
            controls=("random_mask",),
            control_rounds=[2],
            checkpoint=path,
            seed=3,
            verbose=False,
        )

    count = [0]
    with pytest.raises(Killed):
        run(tmp_path / "a.npz", lambda: [KillAt(count, killed_in)])
    keras.utils.set_random_seed(99)  # another process
    resumed = run(tmp_path / "a.npz")
    whole = run(None)
    for a, b in zip(
        whole.model.get_weights(), resumed.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(whole.rounds, resumed.rounds, strict=True):
        assert without_seconds(a) == without_seconds(b)
    for a, b in zip(
        whole.ticket().masks.values(),
        resumed.ticket().masks.values(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    # A finished search is read, and can be made longer.
    again = run(tmp_path / "a.npz", lambda: [KillAt([0], 1)])
    for a, b in zip(again.rounds, resumed.rounds, strict=True):
        assert a.training == b.training and a.controls == b.controls


def without_seconds(each):
    found = dataclasses.asdict(each)
    # Keras numbers the layers of a second net on.
    found["densities"] = list(found["densities"].values())
    found["dead"] = list(found["dead"].values())
    for training in (found["training"], *found["controls"].values()):
        del training["seconds"]
    return found


def test_an_error_leaves_the_model_as_it_was():
    model = net()
    before = model.get_weights()
    with pytest.raises(Killed):
        search(model, callbacks=lambda: [KillAt([0], 1)])
    assert not list(ks.parametrized(model))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_of_another_search_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    search(rounds=0, checkpoint=path)
    with pytest.raises(ValueError, match="another.*rates"):
        search(rounds=0, rate=0.3, checkpoint=path)
    with pytest.raises(ValueError, match="another.*optimizer"):
        search(rounds=0, compile=compiling("sgd"), checkpoint=path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        search(rounds=0, checkpoint=path)


@pytest.mark.parametrize("kept", [False, True])
def test_an_interrupted_run_leaves_the_optimizer_that_it_found(tmp_path, kept):
    def run(killed_in=0, **arguments):
        count = [0]
        return lottery.train_prune_finetune(
            model,
            {"x": x, "y": x, "verbose": 0},
            rounds=2,
            callbacks=lambda: [KillAt(count, killed_in), Rates()],
            checkpoint=tmp_path / "a.npz" if kept else None,
            verbose=False,
            **arguments,
        )

    class Rates(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    rates, x = [], np.ones((4, 2))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    with pytest.raises(Killed):
        run(killed_in=3)
    done = run()
    assert len(done.rounds) == 3
    first = [0.1, 0.01, 0.01]
    again = first[-1:] if kept else first
    np.testing.assert_allclose(rates, [*first, *again], rtol=1e-6)
    np.testing.assert_allclose(model.optimizer.learning_rate, 0.1)
    # The name of an argument that is wrong is found before it compiles.
    with pytest.raises(ValueError, match="matches none"):
        run(rate={"conv": 0.5})
    np.testing.assert_allclose(model.optimizer.learning_rate, 0.1)
