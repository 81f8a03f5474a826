"""HardConcrete: values of the gates, groups, the penalty, and training."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse._mechanism.sparse_layer import attached

HALF = np.log(1 / 11) * 2 / 3  # -1.598597


def gates(log_alpha, **kwargs):
    gate = ks.HardConcrete(**kwargs)
    gate.build(np.shape(log_alpha))
    gate.log_alpha.assign(log_alpha)
    return gate


def test_values_of_the_sheet():
    start = np.log((1 - np.array([0.1, 0.3, 0.5])) / np.array([0.1, 0.3, 0.5]))
    np.testing.assert_allclose(start, [2.197, 0.847, 0], atol=1e-3)
    gate = gates([*start, -2.398, HALF])
    expected = [0.978, 0.920, 0.832, 0.310, 0.5]
    np.testing.assert_allclose(gate.open_probability(), expected, atol=5e-4)
    expected = [0.98, 0.74, 0.5, 0, 0.1017]
    np.testing.assert_allclose(gate.gate(), expected, atol=5e-4)


def test_gates_are_exactly_zero_and_one_past_the_limits():
    gate = gates([-2.399, -2.397, 2.397, 2.399])
    values = np.asarray(gate.gate())
    assert values[0] == 0 and values[3] == 1
    assert 0 < values[1] < 1e-3 and 1 - 1e-3 < values[2] < 1


def test_samples_are_zero_as_often_as_the_probability_says():
    log_alpha = np.repeat([[-2.398], [0.0], [0.847]], 40000, axis=1)
    gate = gates(log_alpha.astype("float32"), seed=1)
    drawn = np.asarray(gate(np.ones(log_alpha.shape, "float32"), training=True))
    assert drawn.min() == 0 and drawn.max() == 1
    expected = [0.310, 0.832, 0.920]
    np.testing.assert_allclose((drawn > 0).mean(1), expected, atol=0.01)
    # P(z < 1/2) at log alpha 0 is one half: the distribution is symmetric.
    np.testing.assert_allclose((drawn[1] < 0.5).mean(), 0.5, atol=0.01)
    np.testing.assert_allclose((drawn[1] == 1).mean(), 1 - 0.832, atol=0.01)


@pytest.mark.parametrize("drop_rate, start", [(0.2, 1.386), (0.5, 0.0)])
def test_start(drop_rate, start):
    gate = ks.HardConcrete(drop_rate=drop_rate)
    gate.build((50, 50))
    log_alpha = np.asarray(gate.log_alpha)
    np.testing.assert_allclose(log_alpha.mean(), start, atol=2e-3)
    np.testing.assert_allclose(log_alpha.std(), 0.01, rtol=0.1)


@pytest.mark.parametrize(
    "layer, shape, axis, expected",
    [
        (keras.layers.Dense(3), (4,), None, (4, 3)),
        (keras.layers.Dense(3), (4,), "outputs", (1, 3)),
        (keras.layers.Dense(3), (4,), "inputs", (4, 1)),
        (keras.layers.Dense(3), (4,), 0, (4, 1)),
        (keras.layers.Dense(3), (4,), (0, -1), (4, 3)),
        (keras.layers.Conv2D(5, 3), (8, 8, 2), "outputs", (1, 1, 1, 5)),
        (keras.layers.Conv2D(5, 3), (8, 8, 2), "inputs", (1, 1, 2, 1)),
        (keras.layers.Conv2D(5, 3), (8, 8, 2), (0, 1), (3, 3, 1, 1)),
        (
            keras.layers.Conv2DTranspose(5, 3),
            (8, 8, 2),
            "outputs",
            (1, 1, 5, 1),
        ),
        (
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
            (8, 8, 2),
            "outputs",
            (1, 1, 2, 2),
        ),
        (
            keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3)),
            (4, 6),
            "outputs",
            (1, 2, 3),
        ),
    ],
)
def test_groups(layer, shape, axis, expected):
    layer = type(layer).from_config(layer.get_config())
    layer.build((None, *shape))
    weights = layer.kernel.shape
    ks.sparsify(layer, ks.HardConcrete(axis), verbose=False)
    [(_, _, gate)] = ks.parametrized(layer)
    assert gate.log_alpha.shape == expected
    assert gate.group_size * np.prod(expected) == np.prod(weights)


def test_penalty_by_hand():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    parametrization = ks.HardConcrete(
        "outputs", weight=0.5, weight_decay=3.0, train_size=100
    )
    ks.sparsify(model, parametrization, verbose=False)
    [(layer, _, gate)] = ks.parametrized(model)
    layer.kernel.assign([[1.0, 2.0]] * 4)
    gate.log_alpha.assign([[0.0, -2.398]])
    # P (.5 * 4 + 1.5 * squares) with P = .8318, .3102, squares = 4, 16
    expected = 0.8318 * 8 + 0.3102 * 26
    np.testing.assert_allclose(gate.nats(), expected, rtol=1e-3)
    np.testing.assert_allclose(model.losses, [expected / 100], rtol=1e-3)
    gate.beta.assign(0.5)
    np.testing.assert_allclose(model.losses, [expected / 200], rtol=1e-3)


def test_penalty_is_paid_once_for_a_layer_used_twice():
    shared = keras.layers.Dense(3)
    a, b = keras.Input((6,)), keras.Input((6,))
    model = keras.Model([a, b], keras.layers.Add()([shared(a), shared(b)]))
    ks.sparsify(model, ks.HardConcrete(train_size=18), verbose=False)
    [(_, _, gate)] = ks.parametrized(model)
    gate.log_alpha.assign(np.full((6, 3), HALF))
    np.testing.assert_allclose(model.losses, [0.5], rtol=1e-5)


def test_strip_leaves_exact_zeros_and_the_gate_in_the_weight():
    layer = keras.layers.Dense(3, kernel_initializer="ones")
    layer.build((None, 2))
    ks.sparsify(layer, ks.HardConcrete("outputs"), verbose=False)
    [(_, _, gate)] = ks.parametrized(layer)
    gate.log_alpha.assign([[-3.0, 0.0, 3.0]])
    x = np.ones((1, 2), "float32")
    before = np.asarray(layer(x))
    ks.strip(layer)
    np.testing.assert_array_equal(layer(x), before)
    np.testing.assert_array_equal(layer.kernel, [[0, 0.5, 1]] * 2)


def test_noise_comes_from_the_seed_and_only_where_it_trains():
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    x = np.ones((2, 4), "float32")
    before = np.asarray(layer(x))
    ks.sparsify(layer, ks.HardConcrete(drop_rate=0.05), verbose=False)
    np.testing.assert_array_equal(layer(x), before)
    first, second = layer(x, training=True), layer(x, training=True)
    assert not np.array_equal(first, second)
    [(_, _, gate)] = ks.parametrized(layer)
    gate.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), before)


def test_a_frozen_layer_draws_no_noise_and_pays_nothing():
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    layer.trainable = False
    ks.sparsify(layer, ks.HardConcrete(train_size=5), verbose=False)
    assert layer.trainable_variables == []
    assert layer.losses == []
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(layer(x, training=True), layer(x))


def test_rate_changes_how_values_are_held_and_nothing_else():
    gate = gates([-0.2399, 0.0, 0.0847, 0.2399], rate=10.0)
    np.testing.assert_allclose(gate.gate(), [0, 0.5, 0.74, 1], atol=5e-4)
    expected = [0.310, 0.832, 0.920, 0.982]
    np.testing.assert_allclose(gate.open_probability(), expected, atol=5e-4)
    push = np.full(4, 9.0, "float32")
    keras.optimizers.SGD(1.0).apply([push], [gate.log_alpha])
    np.testing.assert_allclose(gate.log_alpha, -0.460517, rtol=1e-6)


def test_limits_hold_after_a_step():
    gate = gates([4.6, -4.6])
    push = np.array([-9.0, 9.0], "float32")
    keras.optimizers.SGD(1.0).apply([push], [gate.log_alpha])
    np.testing.assert_allclose(gate.log_alpha, [4.60517, -4.60517], rtol=1e-6)


def test_save_load_keeps_the_penalty(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    ks.sparsify(
        model, ks.HardConcrete((0, -1), weight=2.0, train_size=7), verbose=False
    )
    ks.save(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.losses, model.losses)
    assert len(loaded.losses) == 1 and float(loaded.losses[0]) > 0
    [(_, _, gate)] = ks.parametrized(loaded)
    [(_, _, original)] = ks.parametrized(model)
    assert gate.get_config() == original.get_config()


@pytest.mark.parametrize("axis", [None, "inputs"])
def test_inputs_without_use_close_and_one_in_use_stays_open(axis):
    x = np.random.default_rng(0).normal(size=(512, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    gate = ks.HardConcrete(axis, weight=30.0, drop_rate=0.5, train_size=512)
    ks.sparsify(model, gate, verbose=False)
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(x, 2 * x[:, :1], batch_size=64, epochs=30, verbose=0)
    [(layer, _, gate)] = ks.parametrized(model)
    used, *unused = np.asarray(gate.finalize(layer.kernel.value)).ravel()
    np.testing.assert_allclose(used, 2, atol=0.2)
    assert unused == [0, 0]


def test_attaches_to_layers_that_are_not_built():
    layer = ks.sparsify(keras.layers.Dense(3), ks.HardConcrete("inputs"))
    layer.build((None, 4))
    [each] = attached(layer).values()
    assert each.parametrization(layer).log_alpha.shape == (4, 1)


def test_wrong_arguments():
    for axis in ("rows", 0.5, (0, "inputs")):
        with pytest.raises(ValueError, match="axis"):
            ks.HardConcrete(axis)
    for wrong in (
        {"drop_rate": 1.0},
        {"weight": -1.0},
        {"weight_decay": -1.0},
        {"rate": 0.0},
    ):
        with pytest.raises(ValueError, match="Expected `weight`"):
            ks.HardConcrete(**wrong)
    with pytest.raises(ValueError, match="weight with 2 axes"):
        ks.HardConcrete(axis=2).build((3, 3))
