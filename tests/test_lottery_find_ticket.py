"""Iterative magnitude pruning: counts, rewinding, controls, resuming."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse import lottery
from keras_sparse.lottery.masks.next_masks import by_global_rate, by_rate
from keras_sparse.selection import zero_count
from tests.ticket_search import compiling, data, fit, masks_of, net, search


def test_each_round_takes_its_share_of_what_is_left():
    found = search(rounds=3)
    hidden, output = [100], [20]
    for _ in range(3):
        hidden.append(hidden[-1] - zero_count(hidden[-1], 0.5))
        output.append(output[-1] - zero_count(output[-1], 0.25))
    assert hidden == [100, 50, 25, 13]
    assert output == [20, 15, 11, 8]
    counts = [[int(m.sum()) for m in masks] for masks in masks_of(found)]
    assert counts == [list(pair) for pair in zip(hidden, output, strict=True)]
    assert found.rounds[3].density == 21 / 120
    assert list(found.rounds[3].densities.values()) == [0.13, 0.4]


def test_rates_by_path_and_layers_left_out():
    model = net()
    last = model.layers[-1].name
    found = search(model, rounds=1, rates={last: 0.1})
    assert list(found.rounds[1].densities.values()) == [0.5, 0.9]
    model = net()
    found = search(model, rounds=1, exclude=model.layers[-1].name)
    assert list(found.rounds[1].densities.values()) == [0.5]


def densities(model, outputs=1, **arguments):
    x, _ = data()
    given = {
        "fit": fit(y=[x[:, :2]] * outputs if outputs > 1 else x[:, :2]),
        "compile": compiling("sgd", loss="mse", metrics=None),
        "rounds": 1,
        **arguments,
    }
    found = search(model, **given)
    return found.rounds[1].densities, found.ticket().densities


def test_every_output_layer_loses_less():
    inputs = keras.Input((10,))
    inner = keras.Sequential([keras.Input((10,)), layers.Dense(10)])
    hidden = inner(layers.Dense(10)(inputs))
    a = layers.Softmax()(layers.Dense(2)(hidden))
    b = layers.Dense(2)(hidden)
    found, _ = densities(keras.Model(inputs, [a, b]), outputs=2)
    assert list(found.values()) == [0.5, 0.5, 0.75, 0.75]


class Blocks(keras.Model):
    """Its head is set first, and two of its layers have one path."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(2, name="head")
        self.a = layers.Dense(10, name="b")
        self.b = layers.Dense(10, name="b")

    def call(self, x):
        return self.head(self.b(self.a(x)))


def test_models_with_a_call_of_their_own():
    model = Blocks()
    model(np.ones((1, 10)))
    for found in densities(model, output_rate=0.1):
        keys = [key.removeprefix(model.name) for key in found]
        assert len(keys) == 3 and keys[2].replace("#2", "") == keys[1]
        # The head cannot be told: the rate is that of the layer set last.
        assert list(found.values()) == [0.5, 0.5, 0.9]


def test_weights_are_rewound_bit_by_bit_and_zeros_stay():
    noted, model = [], net()
    model.layers[0].bias.assign(np.arange(10.0))
    initial = [np.array(v) for v in model.weights]
    found = search(model, noted)
    for run, masks in zip(noted, masks_of(found), strict=True):
        kernels = [initial[0] * masks[0], initial[2] * masks[1]]
        for got, expected in zip(
            run["start"],
            [kernels[0], initial[1], kernels[1], initial[3]],
            strict=True,
        ):
            np.testing.assert_array_equal(got, expected)
        for weights in run["after"]:
            assert not weights[0][~masks[0]].any()
            assert not weights[2][~masks[1]].any()
        # The optimizer knows nothing of the round before.
        assert run["iterations"] == 0
        assert not any(slot.any() for slot in run["slots"])
        np.testing.assert_allclose(run["rates"][0], 0.1, rtol=1e-6)
    # What went had the smallest magnitudes after the training before.
    trained = np.abs(noted[0]["after"][-1][0])
    kept = masks_of(found)[1][0]
    assert trained[~kept].max() <= trained[kept].min()
    # The model is plain, trained, and compiled.
    assert not list(ks.parametrized(found.model))
    for weight, last in zip(
        model.get_weights(), noted[-1]["after"][-1], strict=True
    ):
        np.testing.assert_array_equal(weight, last)
    model.evaluate(*data(), verbose=0)
    # Tickets hold the dense first weights.
    for got, expected in zip(found.ticket().weights, initial, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_rewinding_to_a_step():
    noted = []
    found = search(noted=noted, rounds=1, rewind_step=7)
    dense, sparse = noted
    masks = masks_of(found)[1]
    at_step = dense["after"][6]
    np.testing.assert_array_equal(sparse["start"][0], at_step[0] * masks[0])
    np.testing.assert_array_equal(sparse["start"][1], at_step[1])
    # 10 steps in all; the schedule goes on from the step, Adam's count not.
    assert len(dense["rates"]) == 10 and len(sparse["rates"]) == 3
    np.testing.assert_allclose(sparse["rates"], dense["rates"][7:], rtol=1e-5)
    assert sparse["iterations"] == 0
    assert found.rounds[1].training.steps == 10
    np.testing.assert_array_equal(found.ticket().weights[0], at_step[0])


@pytest.mark.parametrize("step", [0, 4])
def test_rewinding_the_learning_rate_alone(step):
    noted = []
    found = search(noted=noted, rewind="learning_rate", rewind_step=step)
    masks = list(found.ticket().masks.values())
    np.testing.assert_array_equal(
        noted[2]["start"][0], noted[1]["after"][-1][0] * masks[0]
    )
    for run in noted[1:]:
        np.testing.assert_allclose(run["rates"], noted[0]["rates"][step:])
    np.testing.assert_array_equal(
        found.ticket().weights[0], noted[2]["after"][-1][0]
    )
    assert not found.ticket().weights[0][~masks[0]].any()
    with pytest.raises(ValueError, match="last round"):
        found.ticket(1)


def test_progress_is_printed_for_the_rounds_that_are_trained(capsys, tmp_path):
    keras.utils.enable_interactive_logging()
    path = tmp_path / "a.npz"
    search(rounds=1, checkpoint=path, verbose=True)
    fresh = capsys.readouterr().out.splitlines()
    found = search(checkpoint=path, verbose=True)
    resumed = capsys.readouterr().out.splitlines()
    assert [fresh, resumed] == [
        [f"0/1 {found.rounds[0]}", f"1/1 {found.rounds[1]}"],
        [f"2/2 {found.rounds[2]}"],
    ]
    assert " 54.2% of the weights" in fresh[1]  # 65 of 120


def test_one_threshold_for_all():
    weights = [np.arange(1.0, 11.0), np.arange(0.1, 1.1, 0.1)]
    ones = {0: np.ones(10, bool), 1: np.ones(10, bool)}
    masks = by_global_rate(0.5)(weights, ones)
    # All ten of the second are smaller, but it keeps its last one.
    assert masks[0].tolist() == [False] + [True] * 9
    assert masks[1].tolist() == [False] * 9 + [True]
    masks = by_rate({0: 0.5, 1: 0.2})(weights, masks)
    assert masks[0].tolist() == [False] * 5 + [True] * 5  # round(4.5) = 4
    assert masks[1].tolist() == [False] * 9 + [True]
    found = search(scope="global", rounds=1)
    assert found.rounds[1].density == 0.5


def test_what_is_gone_stays_gone_where_trained_weights_tie():
    mask = np.array([True, False, True, True])
    masks = by_rate({0: 0.34})([np.zeros(4)], {0: mask})
    assert masks[0].tolist() == [False, False, True, True]


def test_controls_start_where_they_should():
    noted, model = [], net()
    initial = model.get_weights()
    found = search(
        model,
        noted,
        controls=("reinitialized", "random_mask"),
        control_rounds=[2],
        initializer="signed_kaiming_constant",
    )
    assert [list(r.controls) for r in found.rounds] == [
        [],
        [],
        ["reinitialized", "random_mask"],
    ]
    ticket, fresh, random = noted[-3:]
    size = np.sqrt(2 / 10)
    kernels = [run["start"][0] for run in (ticket, fresh, random)]
    for kernel in kernels:
        assert np.count_nonzero(kernel) == 25
        np.testing.assert_allclose(np.abs(kernel[kernel != 0]), size, 1e-6)
    same_place = kernels[0] != 0
    assert np.array_equal(same_place, kernels[1] != 0)
    assert not np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(same_place, kernels[2] != 0)
    np.testing.assert_array_equal(fresh["start"][1], initial[1])
    first = found.ticket().weights[0]
    np.testing.assert_array_equal(kernels[2], first * (kernels[2] != 0))


def test_early_stop_is_the_step_of_the_lowest_validation_loss():
    class Losses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["val_loss"] = [3.0, 1.0, 2.0][epoch]

    x, y = data()
    found = search(
        rounds=0,
        fit=fit(epochs=3, validation_data=(x, y)),
        callbacks=lambda: [Losses()],
        test_data=(x, y),
        compile=compiling(steps_per_execution=2),
    )
    training = found.rounds[0].training
    assert training.epoch_ends == [5, 10, 15]
    assert (training.steps, training.best_step) == (15, 10)
    assert training.best_test["loss"] != training.test["loss"]
    assert training.value("accuracy") == training.test["accuracy"]
    with pytest.raises(ValueError, match="one of"):
        training.value("auc")


def test_seeds_reproduce():
    a, b, c = (
        lottery.find_ticket(
            net,
            fit(epochs=1),
            rounds=0,
            compile=compiling(),
            seed=seed,
            verbose=False,
        ).model.get_weights()
        for seed in (1, 1, 2)
    )
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a[0], c[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": -1}, "rounds"),
        ({"rate": 1.0}, "a rate"),
        ({"rewind": "epoch"}, "'learning_rate'"),
        ({"scope": "all"}, "'global'"),
        ({"scope": "global", "output_rate": 0.1}, "one rate"),
        ({"controls": ["dense"]}, "random_mask"),
        ({"rates": {"convolution": 0.1}}, "matches none of"),
        ({"rewind_step": -1}, "rewind_step"),
        ({"rewind_step": 11}, "the training has 10"),
        ({"initializer": "he"}, "kaiming_normal"),
        ({"fit": {"callbacks": []}}, "in `callbacks`"),
        ({"checkpoint": "search.h5"}, "ends in '.npz'"),
        (
            {"rewind_step": 5, "compile": compiling(steps_per_execution=2)},
            "multiple",
        ),
    ],
)
def test_what_is_refused(arguments, message):
    model = net()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        search(model, **arguments)
    assert not list(ks.parametrized(model))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_that_is_sparse_already_or_not_compiled():
    with pytest.raises(ValueError, match="compile="):
        lottery.find_ticket(net(), fit())
    model = ks.sparsify(net(), ks.Mask(), verbose=False)
    with pytest.raises(ValueError, match="plain model"):
        lottery.find_ticket(model, fit(), compile=compiling())
