"""Arguments that are found wrong before the first training, or are fine."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse import lottery

X = np.ones((4, 3), "float32")


class Trained(Exception):
    pass


def train():
    raise Trained


def search(**arguments):
    given = {
        "fit": train,
        "rounds": 1,
        "compile": {"optimizer": "sgd", "loss": "mse", "run_eagerly": True},
        "verbose": False,
        **arguments,
    }
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    return lottery.find_ticket(model, **given)


STOP = keras.callbacks.TerminateOnNaN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"control_rounds": 1}, "list of rounds.*Received: 1"),
        ({"control_rounds": [0, 1]}, "from 1 on"),
        ({"control_rounds": ["1"]}, "from 1 on"),
        ({"controls": "random_mask"}, "list of.*Received: 'random_mask'"),
        ({"controls": None}, "list of"),
        ({"callbacks": [STOP()]}, "lambda: .keras"),
        ({"callbacks": STOP}, "lambda: .keras"),
        ({"callbacks": STOP()}, "lambda: .keras"),
        ({"fit": (X, X)}, "dict of arguments.*tuple"),
        ({"fit": lambda: (X, X)}, "dict of arguments.*tuple"),
        ({"initializer": keras.initializers.GlorotNormal}, "not its class"),
        ({"rounds": 1.0}, "`rounds` to be an integer"),
        ({"rounds": 256}, "from 0 to 255"),
        ({"rewind_step": "1"}, "`rewind_step` to be an integer"),
        ({"seed": -1}, "`seed` to be an integer"),
        ({"data_name": X}, "a string. Received: ndarray"),
    ],
)
def test_what_is_refused_before_a_training(arguments, message):
    with pytest.raises(ValueError, match=message):
        search(**arguments)


def test_finetuning_has_the_same_checks():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    for arguments, message in (
        ({"fit": (X, X)}, "`fit` to be a dict"),
        ({"fit": train, "finetune": [1]}, "`finetune` to be a dict"),
        ({"fit": train, "callbacks": STOP}, "lambda: .keras"),
    ):
        with pytest.raises(ValueError, match=message):
            lottery.train_prune_finetune(model, compile=train, **arguments)


def test_callbacks_that_are_made_wrong():
    given = {"x": X, "y": X, "verbose": 0}
    with pytest.raises(ValueError, match="make a list of callbacks"):
        search(fit=given, callbacks=lambda: STOP())


def test_integers_of_numpy_and_numbers_of_provenance(tmp_path):
    found = search(
        fit={"x": X, "y": X, "verbose": 0},
        rounds=np.int64(1),
        rewind_step=np.int64(0),
        seed=np.uint8(3),
        controls=("random_mask",),
        control_rounds=np.array([1]),
    )
    assert list(found.rounds[1].controls) == ["random_mask"]
    with pytest.raises(ValueError, match="up to 1.*Received: 9"):
        found.ticket(9)
    ticket = found.ticket()
    assert ticket.provenance["seed"] == 3
    ticket.provenance["accuracy"] = np.float32(0.5)
    ticket.save(tmp_path / "a.npz")
    kept = lottery.Ticket.load(tmp_path / "a.npz").provenance
    assert kept["accuracy"] == 0.5
    ticket.provenance["data"] = search
    with pytest.raises(ValueError, match="numbers, text"):
        ticket.save(tmp_path / "b.npz")
    assert not (tmp_path / "b.npz").exists()


@pytest.mark.parametrize("keep", ["0.5", None, np.nan, 0])
def test_shares_that_are_none(keep):
    with pytest.raises(ValueError, match="the share of the weights"):
        ks.EdgePopup(keep)


def test_scores_that_are_none():
    with pytest.raises(ValueError, match="Received: 'a'"):
        ks.Supermask("a")
