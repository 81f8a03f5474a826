"""What tickets are compared with: fresh weights, and nothing else fresh."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import lottery
from keras_sparse.lottery.initializers import draw_weights
from keras_sparse.lottery.masks.masked_model import find_weights
from tests.ticket_search import Note, net, search


def test_a_fresh_draw_is_not_the_searchs_own():
    ticket = search(rounds=0, initializer="glorot_normal").ticket()
    fresh = lottery.reinitialize(ticket, net(), initializer="glorot_normal")
    for index in ticket.masks:
        assert not np.isin(fresh.weights[index], ticket.weights[index]).any()


def test_models_that_a_ticket_does_not_fit():
    weights = tuple(net().get_weights())
    masks = {0: np.ones((10, 10), bool), 2: np.ones((10, 2), bool)}
    ticket = lottery.Ticket(("a", "b", "c", "d"), weights, masks, {})
    with pytest.raises(ValueError, match="plain model"):
        lottery.reinitialize(ticket, ticket.apply(net()))
    unbuilt = keras.Sequential([layers.Dense(10), layers.Dense(2)])
    with pytest.raises(ValueError, match="with 0. Build"):
        lottery.reinitialize(ticket, unbuilt)
    wider = keras.Sequential(
        [keras.Input((10,)), layers.Dense(12), layers.Dense(2)]
    )
    with pytest.raises(ValueError, match=r"\(10, 12\).*is \(10, 10\)"):
        lottery.reinitialize(ticket, wider)


def test_the_control_has_fresh_weights_and_all_else_from_the_start():
    noted = []
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(4),
            layers.Dense(2, name="out", kernel_initializer="zeros"),
        ]
    )
    model.layers[0].bias.assign([1.0, 2.0, 3.0, 4.0])
    arguments = {
        "rounds": 1,
        "rewind_step": 4,
        "exclude": "out",
        "initializer": "signed_kaiming_constant",
        "controls": ["reinitialized"],
    }
    search(model, noted, **arguments)
    _, ticket, control = [run["start"] for run in noted]
    size = np.abs(control[0][control[0] != 0])
    np.testing.assert_allclose(size, np.sqrt(2 / 10), 1e-6)
    # Biases as before the dense training, though the ticket's are of step 4.
    assert control[1].tolist() == [1, 2, 3, 4]
    assert ticket[1].tolist() != [1, 2, 3, 4]
    # What was not chosen is drawn as its layer would.
    assert not control[2].any() and ticket[2].any()


def test_a_resumed_control_still_knows_the_start(tmp_path):
    def model():
        made = net()
        made.layers[0].bias.assign(np.arange(10.0))
        return made

    def go(rounds, noted):
        search(
            model(),
            noted,
            rounds=rounds,
            rewind_step=4,
            controls=["reinitialized"],
            checkpoint=tmp_path / "a.npz",
        )
        return noted

    go(0, [])
    control = go(1, [])[-1]
    np.testing.assert_array_equal(control["start"][1], np.arange(10.0))


class Fives(keras.initializers.Initializer):
    """An initializer whose config does not hold its argument."""

    def __init__(self, value):
        self.value = value

    def __call__(self, shape, dtype=None):
        return ops.full(shape, self.value, dtype=dtype)


def test_own_initializers_that_cannot_be_made_anew_are_called():
    def sevens(shape, dtype=None):
        return ops.full(shape, 7.0, dtype=dtype)

    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(2, kernel_initializer=sevens),
            layers.Dense(2, kernel_initializer=Fives(5.0)),
        ]
    )
    drawn = draw_weights(find_weights(model, model.weights), None, seed=0)
    assert (drawn[0] == 7).all() and (drawn[2] == 5).all()


class Mine(keras.initializers.RandomNormal):
    def __init__(self, scale):
        super().__init__(stddev=scale)


def test_a_random_initializer_that_cannot_be_seeded_anew():
    noted, model = [], net()
    model.layers[0].kernel_initializer = Mine(2.0)
    with pytest.raises(ValueError, match="Mine.*get_config"):
        search(
            model,
            controls=["reinitialized"],
            callbacks=lambda: [Note(noted)],
        )
    assert not noted


def test_an_initializer_that_fails_does_so_before_any_training():
    def broken(shape, dtype=None):
        raise ArithmeticError

    noted, model = [], net()
    model.layers[0].kernel_initializer = broken
    with pytest.raises(ArithmeticError):
        search(
            model,
            controls=["reinitialized"],
            callbacks=lambda: [Note(noted)],
        )
    assert not noted
