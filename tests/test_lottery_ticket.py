"""Tickets: one file, and a net that they go into."""

import zipfile

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse import lottery
from keras_sparse.lottery import Ticket
from keras_sparse.lottery.initializers import draw_weights
from keras_sparse.lottery.masks.masked_model import find_weights


def net(classes=2, name=None, filters=3):
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(filters, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(classes, name=name),
        ]
    )


def data(classes=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 6, 6, 1)).astype("float32")
    return x, rng.integers(0, classes, 32)


def compiling(optimizer="adam"):
    return {
        "optimizer": optimizer,
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
        "run_eagerly": True,
    }


@pytest.fixture(scope="module")
def found():
    x, y = data()
    return lottery.find_ticket(
        net(),
        {"x": x, "y": y, "verbose": 0},
        rounds=2,
        rate=0.4,
        compile=compiling(),
        test_data=(x, y),
        data_name="noise",
        seed=5,
        verbose=False,
    )


def same(a, b):
    assert a.paths == b.paths and a.provenance == b.provenance
    assert list(a.masks) == list(b.masks)
    for x, y in (
        *zip(a.weights, b.weights, strict=True),
        *zip(a.masks.values(), b.masks.values(), strict=True),
    ):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_one_file_holds_it_all(found, tmp_path):
    ticket = found.ticket()
    path = tmp_path / "a.npz"
    ticket.save(path)
    same(Ticket.load(path), ticket)
    known = ticket.provenance
    assert (known["data"], known["seed"], known["round"]) == ("noise", 5, 2)
    assert known["optimizer"]["class_name"] == "Adam"
    assert known["training"]["steps"] == 1
    assert known["training"]["test"] == found.rounds[2].training.test
    assert ticket.density == found.rounds[2].density
    # 27 and 96 weights: 16, 10 of the one are left, 77, 62 of the other.
    assert repr(ticket) == "Ticket(58.54% of 123 weights)"
    # Numbers and text; masks take a bit an entry.
    with np.load(path, allow_pickle=False) as file:
        kinds = {file[name].dtype.kind for name in file.files}
        assert kinds <= {"f", "u", "U"}
        assert file["masks.0"].nbytes == 4  # 27 entries
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


def test_it_goes_into_a_model_and_trains_there(found):
    ticket = found.ticket()
    model = ticket.apply(net())
    conv = model.layers[0]
    kept = ticket.masks[0]
    np.testing.assert_array_equal(conv.kernel.numpy(), ticket.weights[0] * kept)
    model.compile(**compiling(keras.optimizers.SGD(0.1, momentum=0.9)))
    x, y = data()
    model.fit(x, y, epochs=3, verbose=0)
    model = ks.strip(model)
    assert not conv.kernel.numpy()[~kept].any()
    assert np.count_nonzero(conv.kernel.numpy()) == kept.sum()
    assert not np.array_equal(
        conv.kernel.numpy()[kept], ticket.weights[0][kept]
    )


def test_with_another_output_layer(found):
    ticket, model = found.ticket(), net(5, "five")
    head = model.get_layer("five").get_weights()
    ticket.apply(model, exclude="five")
    assert [layer.name for layer, _, _ in ks.parametrized(model)] == [
        model.layers[0].name
    ]
    for a, b in zip(model.get_layer("five").get_weights(), head, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        model.layers[0].kernel.numpy(), ticket.weights[0] * ticket.masks[0]
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: net(5, "five"), r"five.*\(48, 5\).*in `exclude`"),
        (lambda: net(filters=4), r"\(3, 3, 1, 4\).*the ticket's"),
        (
            lambda: keras.Sequential([keras.Input((4,)), layers.Dense(2)]),
            "with 8 weights",
        ),
        (lambda: ks.sparsify(net(), ks.Mask(), verbose=False), "plain model"),
    ],
)
def test_a_model_of_other_shapes_stays_as_it_is(found, model, message):
    model = model()
    before = model.get_weights()
    sparse = len(list(ks.parametrized(model)))
    with pytest.raises(ValueError, match=message):
        found.ticket().apply(model)
    assert len(list(ks.parametrized(model))) == sparse
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_files_that_are_no_tickets(found, tmp_path):
    with pytest.raises(FileNotFoundError):
        Ticket.load(tmp_path / "none.npz")
    other = tmp_path / "other.npz"
    np.savez(other, a=np.ones(3))
    with pytest.raises(ValueError, match="cannot be read as one"):
        Ticket.load(other)
    np.savez(other, header=np.array({"a": 1}, dtype=object))
    with pytest.raises(ValueError, match="cannot be read as one"):
        Ticket.load(other)
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("header.npy", b"x")
    with pytest.raises(ValueError, match="cannot be read as one"):
        Ticket.load(other)
    with pytest.raises(ValueError, match="ends in '.npz'"):
        found.ticket().save(tmp_path / "ticket.pkl")


def test_fresh_weights_and_random_masks(found):
    ticket, model = found.ticket(), net()
    before = model.get_weights()
    fresh = lottery.reinitialize(ticket, model, seed=1)
    assert fresh.masks is ticket.masks
    for index in ticket.masks:
        assert not np.array_equal(fresh.weights[index], ticket.weights[index])
    assert fresh.weights[2] is ticket.weights[2]  # gamma
    again = lottery.reinitialize(ticket, net(), seed=1)
    np.testing.assert_array_equal(fresh.weights[0], again.weights[0])
    other = lottery.reinitialize(ticket, model, seed=2)
    assert not np.array_equal(fresh.weights[0], other.weights[0])
    signed = lottery.reinitialize(
        ticket, model, initializer="signed_glorot_constant"
    )
    np.testing.assert_allclose(  # fans 9 and 27
        np.abs(signed.weights[0]), np.sqrt(2 / 36), 1e-6
    )
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    random = lottery.randomize_masks(ticket, seed=1)
    assert random.densities == ticket.densities
    assert random.weights is ticket.weights
    for index, mask in ticket.masks.items():
        assert not np.array_equal(mask, random.masks[index])


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_normal", 2 / (60 + 400)),
        ("glorot_uniform", 2 / (60 + 400)),
        ("kaiming_normal", 2 / 60),
        ("kaiming_uniform", 2 / 60),
    ],
)
def test_laws_by_their_names(name, variance):
    layer = layers.EinsumDense("abc,bcde->ade", (20, 20))
    model = keras.Sequential([keras.Input((6, 10)), layer])
    drawn = draw_weights(find_weights(model, model.weights), name, seed=0)
    assert drawn[0].var() == pytest.approx(variance, rel=0.05)
    assert drawn[0].mean() == pytest.approx(0, abs=0.01)


def test_own_initializers_even_with_a_seed_of_their_own():
    ones = layers.Dense(3, kernel_initializer="ones")
    seeded = layers.Dense(
        3, kernel_initializer=keras.initializers.RandomNormal(seed=4)
    )
    model = keras.Sequential([keras.Input((3,)), ones, seeded])
    drawn = draw_weights(find_weights(model, model.weights), None, seed=0)
    assert (drawn[0] == 1).all()
    assert not np.array_equal(drawn[2], seeded.kernel.numpy())


def training(accuracy, step):
    logs = {"val_accuracy": accuracy, "val_loss": 1.0}
    return lottery.Training(9, logs, step, logs, {}, {}, [9], 0.0)


def a_search(add, controls=True):
    """Two rounds: accuracies .9 and .8, early stops at 7 and 5."""
    control = {"random_mask": training(0.5 + add, 9)} if controls else {}
    rounds = (
        lottery.Round(0, 1.0, {"a": 1.0}, {}, training(0.9 + add, 7), {}),
        lottery.Round(1, 0.4, {"a": 0.4}, {}, training(0.8 + add, 5), control),
    )
    return lottery.FinetunedModel(None, rounds)


def lines(figure):
    """The points of each line with bars, by its label."""
    return {
        each.get_label(): [data.tolist() for data in each.lines[0].get_data()]
        for each in figure.axes[0].containers
    }


def test_figures_show_what_was_measured():
    found = lines(lottery.plot_accuracy([a_search(0.0), a_search(0.1)]))
    assert list(found) == ["ticket", "random masks"]
    np.testing.assert_allclose(found["ticket"], [[100.0, 40.0], [0.95, 0.85]])
    np.testing.assert_allclose(found["random masks"], [[40.0], [0.55]])
    found = lines(lottery.plot_early_stop(a_search(0.0, controls=False)))
    assert found == {"ticket": [[100.0, 40.0], [7, 5]]}
    (line,) = lottery.plot_densities(a_search(0.0)).axes[0].lines
    assert line.get_label() == "a"
    assert line.get_ydata().tolist() == [100.0, 40.0]


def test_no_figure_without_what_it_shows(found):
    with pytest.raises(ValueError, match="validation_data"):
        lottery.plot_early_stop(found)
    with pytest.raises(ValueError, match="measured"):
        lottery.plot_accuracy(found, "auc")
