"""What a cut unit gave its readers is folded into them."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.structured import shrink
from tests.structured_models import (
    arrays,
    jitter,
    same,
)


def test_the_bias_of_a_cut_unit_goes_through_relu_by_hand():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(3, "relu"),
            layers.Dense(1, use_bias=False),
        ]
    )
    first, second = model.layers
    # Unit 0 is relu(2) = 2 for every input; unit 1 is relu(-1) = 0.
    first.set_weights(
        [np.array([[0, 0, 1], [0, 0, 2.0]]), np.array([2.0, -1.0, 0.5])]
    )
    second.set_weights([np.array([[3.0], [7.0], [1.0]])])
    small = shrink(model)
    assert small.layers[0].units == 1
    kernel, bias = small.layers[1].get_weights()
    np.testing.assert_array_equal(kernel, [[1.0]])
    np.testing.assert_array_equal(bias, [6.0])  # 3 * 2 + 7 * 0
    np.testing.assert_allclose(small(np.ones((1, 2)))[0, 0], 9.5)  # 3.5 + 6


def test_beta_of_batch_normalization_is_folded_by_hand():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(2, 1, use_bias=False),
            layers.BatchNormalization(epsilon=0.0),
            layers.ReLU(),
            layers.Conv2D(1, 2, padding="valid"),
        ]
    )
    conv, norm, _, last = model.layers
    conv.set_weights([np.array([0.0, 1.0]).reshape(1, 1, 1, 2)])
    # Channel 0: (0 - 1) / 2 * 3 + 4 = 2.5
    norm.set_weights(np.array([[3.0, 1], [4, 0], [1, 0], [4, 1]]))
    last.set_weights([np.ones((2, 2, 2, 1)), np.ones(1)])
    small = shrink(model)
    assert small.layers[0].filters == 1
    np.testing.assert_array_equal(
        small.layers[-1].get_weights()[1],
        [11.0],  # 1 + 4 * 2.5
    )
    same(model, small, arrays(2, 4, 4, 1))


@pytest.mark.parametrize("padding, left", [("same", 2), ("valid", 1)])
def test_zero_padding_keeps_a_constant_that_is_not_zero(padding, left):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(2, 1),
            layers.Conv2D(1, 3, padding=padding),
        ]
    )
    kernel = np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
    model.layers[0].set_weights([kernel, np.array([5.0, 0.0])])
    small = shrink(model)
    assert small.layers[0].filters == left
    same(model, small, arrays(2, 6, 6, 1))


def test_units_that_nobody_reads_go_layer_by_layer():
    model = jitter(
        keras.Sequential(
            [
                keras.Input((3,)),
                layers.Dense(4, "tanh"),
                layers.Dense(5, "tanh"),
                layers.Dense(2),
            ]
        )
    )
    one, two, three = model.layers
    kernel = three.kernel.numpy()
    kernel[:3] = 0  # units 0-2 of `two` are not read
    three.kernel.assign(kernel)
    kernel = two.kernel.numpy()
    kernel[0, 3:] = 0  # unit 0 of `one` is read by these alone
    two.kernel.assign(kernel)
    small = shrink(model)
    assert [layer.units for layer in small.layers] == [3, 2, 2]
    same(model, small, arrays(4, 3))


def test_one_unit_of_a_group_stays():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4, "relu"), layers.Dense(2)]
    )
    model.layers[0].kernel.assign(np.zeros((3, 4)))
    assert shrink(model).layers[0].units == 1
    assert shrink(model, round_to=2).layers[0].units == 2


def test_two_calls_of_one_reader_with_different_constants():
    a, b = keras.Input((3,)), keras.Input((3,))
    reader = layers.Dense(2)
    one, two = layers.Dense(4), layers.Dense(4)
    outputs = layers.Concatenate()([reader(one(a)), reader(two(b))])
    model = jitter(keras.Model([a, b], outputs))
    for layer, constant in ((one, 1.0), (two, 2.0)):
        kernel, bias = layer.get_weights()
        kernel[:, :2] = 0
        bias[:2] = [3.0, constant]
        layer.set_weights([kernel, bias])
    small = shrink(model)
    # Unit 0 is 3 in both calls; unit 1 is 1 in one and 2 in the other.
    assert [x.units for x in small.layers if x.name == one.name] == [3]
    same(model, small, [arrays(4, 3), arrays(4, 3, seed=1)])


def test_units_without_effect_go_in_any_case():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(2)]
    )
    kernel = model.layers[0].kernel.numpy()
    kernel[:, :6] = 0
    model.layers[0].kernel.assign(kernel)
    small = shrink(model, 0.1)
    assert small.layers[0].units == 2
    same(model, small, arrays(4, 4))
