"""TriStateReLU: values, gradients, prices by hand; then shrink, then digits."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse import _surgery
from keras_sparse._selection.gradients import differentiate
from keras_sparse.layers.tri_state_relu import TriStateReLU
from keras_sparse.structured import merge_linear, shrink
from tests.structured_models import arrays, functional, jitter, same

X = np.array([[-2.0, -3.0, -4.0], [5.0, 6.0, 0.0]], "float32")


def with_gates(width, depth, **arguments):
    layer = TriStateReLU(**arguments)
    layer.build((None, len(width)))
    layer.width.assign(width)
    layer.depth.assign(depth)
    return layer


@pytest.mark.parametrize(
    "depth, expected",
    [
        (0.49, [[0, 0, 0], [5, 0, 0]]),
        (0.5, [[-2, 0, -4], [5, 0, 0]]),
    ],
)
def test_three_states(depth, expected):
    layer = with_gates([0.5, 0.4999, 1.0], depth)
    np.testing.assert_array_equal(layer(X), expected)
    first = TriStateReLU(axis=1)
    first.build((None, 3, 2))
    first.width.assign(layer.width)
    first.depth.assign(layer.depth)
    both = np.stack([X, X], 2)
    np.testing.assert_array_equal(
        first(both), np.stack([expected, expected], 2)
    )


@pytest.mark.parametrize(
    "depth, by_width, by_depth, by_x",
    [
        # max(x, 0); w' min(x, 0); w' 1[x >= 0]
        (0.0, [5, 6, 0], -2 - 4, [[0, 0, 0], [1, 0, 1]]),
        # max(x, 0) + min(x, 0); the same; w'
        (1.0, [3, 3, -4], -2 - 4, [[1, 0, 1], [1, 0, 1]]),
    ],
)
def test_gradients(depth, by_width, by_depth, by_x):
    layer = with_gates([1.0, 0.0, 0.7], depth)
    variables = [layer.width, layer.depth]

    def of(tensors):
        mapping = list(zip(variables, tensors[:2], strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return keras.ops.sum(layer(tensors[2]))

    found = differentiate(
        of, [*map(_surgery.read, variables), keras.ops.convert_to_tensor(X)]
    )
    np.testing.assert_array_equal(found[0], by_width)
    np.testing.assert_array_equal(found[1], by_depth)
    np.testing.assert_array_equal(found[2], by_x)


def test_penalty():
    prices = {"price": 4.0, "bimodal": 10.0}
    layer = with_gates([1.0, 0.5, 0.2], 0.4, **prices)
    # 10 (0 + .25 + .16) + 1 (.24) + 4 (1.7) - .4 (.4)
    assert float(layer.penalty()) == pytest.approx(4.1 + 0.24 + 6.8 - 0.16)
    layer.depth.assign(0.5)  # units of a linear layer are free
    assert float(layer.penalty()) == pytest.approx(4.1 + 0.25 - 0.2)
    [loss] = layer.losses
    assert float(loss) == float(layer.penalty())
    layer.depth.assign(0.0)

    def of(tensors):
        with keras.StatelessScope(state_mapping=[(layer.width, tensors[0])]):
            return layer.penalty()

    width = keras.ops.convert_to_tensor(np.float32([1.0, 0.7, 0.6]))
    # 10 (1 - 2 w) + 4 turns its sign at (1 + .4) / 2
    np.testing.assert_allclose(
        differentiate(of, [width])[0], [-6, 0, 2], atol=1e-5
    )


def test_gates_stay_in_their_limits_and_a_frozen_layer_pays_nothing():
    layer = with_gates([0.1, 0.9], 0.5)
    push = [np.float32([9, -9]), np.float32(9)]
    keras.optimizers.SGD(1.0).apply(push, [layer.width, layer.depth])
    assert np.asarray(layer.width).tolist() == [0, 1]
    assert float(layer.depth) == 0
    layer.trainable = False
    assert layer.losses == []


def set_gates(model, number, width, depth):
    gates = [x for x in model.layers if isinstance(x, TriStateReLU)]
    gates[number].width.assign(width)
    gates[number].depth.assign(depth)


def test_shrink_leaves_relu_and_cuts_closed_units():
    def body(x):
        x = layers.Conv2D(4, 3, padding="same")(x)
        x = layers.MaxPooling2D()(TriStateReLU(name="gates")(x))
        x = layers.Dense(5)(layers.Flatten()(x))
        return layers.Dense(2)(TriStateReLU()(x))

    model = jitter(functional((6, 6, 2), body))
    set_gates(model, 0, [1, 0, 1, 0.2], 0.1)
    set_gates(model, 1, [0, 1, 1, 1, 0], 0)
    small = shrink(model)
    assert isinstance(small.get_layer("gates"), layers.ReLU)
    kinds = [type(layer).__name__ for layer in small.layers]
    assert "TriStateReLU" not in kinds and "Rescaling" not in kinds
    assert small.layers[1].filters == 2
    assert [x.units for x in small.layers if "dense" in x.name] == [3, 2]
    same(model, small, arrays(4, 6, 6, 2))


def test_shrink_puts_layers_together_whose_activation_was_learned_away():
    def body(x):
        x = TriStateReLU()(layers.Dense(20, name="a")(x))
        x = layers.Dropout(0.5)(layers.Dense(30, use_bias=False, name="b")(x))
        x = layers.Dropout(0.5)(TriStateReLU()(x))
        x = TriStateReLU()(layers.Dense(25, name="c")(x))
        return layers.Dense(3, name="d")(x)

    model = jitter(functional((6,), body))
    for number, units in enumerate((20, 30, 25)):
        width = np.arange(units) % 3 > 0
        set_gates(model, number, width, 0 if number == 1 else 1)
    small = shrink(model)
    names = [(x.name, x.units) for x in small.layers if hasattr(x, "units")]
    assert names == [("b", 20), ("d", 3)]
    assert small.get_layer("b").get_weights()[0].shape == (6, 20)
    assert len(small.get_layer("b").get_weights()) == 2  # the bias of a
    same(model, small, arrays(8, 6), atol=1e-4)
    # All at once: nothing is left between input and output.
    set_gates(model, 1, np.ones(30), 1)
    line = shrink(model)
    assert line.count_params() == 6 * 3 + 3
    same(model, line, arrays(8, 6), atol=1e-3)


def test_bottlenecks_and_other_readers_stay_two_layers():
    def body(x):
        a = layers.Dense(2, name="narrow")(x)
        b = layers.Dense(9, name="wide")(x)
        c = layers.Dense(9, name="read_twice")(x)
        return [
            layers.Dense(8)(a),
            layers.Dense(3, name="after")(b),
            layers.Dense(2)(c),
            layers.ReLU()(c),
        ]

    model = jitter(functional((6,), body))
    small = merge_linear(model)
    left = {layer.name for layer in small.layers}
    assert {"narrow", "read_twice", "after"} <= left and "wide" not in left
    x = arrays(4, 6)
    for before, after in zip(model(x), small(x), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-4)
    same(model, merge_linear(model, where="narrow"), x)
    with pytest.raises(ValueError, match="`where` to match"):
        merge_linear(model, where="nobody")


def test_where_its_scale_cannot_be_folded_both_parts_stay():
    def body(x):
        x = layers.Dense(4, "tanh")(x)
        y = layers.Dense(2)(layers.Activation("tanh")(TriStateReLU()(x)))
        return layers.Concatenate()([y, x])

    model = jitter(functional((3,), body))
    set_gates(model, 0, [1, 0, 1, 1], 0)
    small = shrink(model)
    assert not any(
        isinstance(x, TriStateReLU) for x in _surgery.all_layers(small)
    )
    same(model, small, arrays(8, 3))


def network(price, policy=None):
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(40, dtype=policy),
            TriStateReLU(price, dtype=policy),
            layers.Dense(10),
        ]
    )


def test_training_on_digits(tmp_path):
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = (data.data / 16).astype("float32"), data.target
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    units = []
    for price in (0.0, 0.01):
        keras.utils.set_random_seed(0)
        model = network(price)
        set_gates(model, 0, np.full(40, 0.6), 0.0)
        model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
        model.fit(x, y, epochs=12, verbose=0)
        assert model.evaluate(x, y, verbose=0)[1] > 0.9
        small = shrink(model)
        np.testing.assert_allclose(small(x), model(x), atol=1e-4)
        units.append(small.layers[0].units)
    assert units[1] < 30 and units[1] < units[0]
    ks.save(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[1].get_config() == model.layers[1].get_config()
    np.testing.assert_array_equal(loaded(x), model(x))
    assert float(loaded.losses[0]) == float(model.losses[0])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    model = network(1e-3, policy)
    gates = model.layers[1]
    assert {v.dtype for v in gates.trainable_variables} == {"float32"}
    model.compile("adam", "mse")
    x, y = arrays(8, 64), np.ones((8, 10))
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])
    assert gates(x[:, :40]).dtype == keras.DTypePolicy(policy).compute_dtype


def test_wrong_arguments():
    for wrong in (
        {"price": -1.0},
        {"price": float("nan")},
        {"bimodal": -1.0},
        {"initial": 1.1},
        {"initial_depth": -0.1},
    ):
        with pytest.raises(ValueError, match="prices of 0 or more"):
            TriStateReLU(**wrong)
    for axis in (0, 2, -2):
        with pytest.raises(ValueError, match="after the batch"):
            TriStateReLU(axis=axis).build((None, 3))
    with pytest.raises(ValueError, match="known number of channels"):
        TriStateReLU(axis=1).build((None, None, 3))
