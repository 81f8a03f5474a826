"""Layers whose channels are to stay, wherever they sit."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.structured import groups, shrink


def cuttable(model, ignored):
    return [each.makers for each in groups(model, ignored=ignored)]


def test_what_is_ignored_keeps_its_channels():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, name="a"),
            layers.Dense(5, name="b"),
            layers.Dense(2),
        ],
        name="data",  # the model itself is never what is ignored
    )
    assert cuttable(model, "a$") == [("b",)]
    assert cuttable(model, lambda x: not isinstance(x, layers.Dense)) == [
        ("a",),
        ("b",),
    ]
    with pytest.raises(ValueError, match="`ignored` to match"):
        groups(model, ignored="nothing")


def test_ignored_layers_keep_their_width():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, name="a"),
            layers.Dense(8, name="b"),
            layers.Dense(2),
        ]
    )
    small = shrink(model, 0.3, ignored="a$")
    assert small.get_layer("a").units == 8
    assert small.get_layer("b").units < 8


@pytest.mark.parametrize(
    "wrapper, rest", [("steps", {"both", "c"}), ("both", {"steps", "c"})]
)
def test_a_wrapper_that_is_ignored_answers_for_what_it_wraps(wrapper, rest):
    model = keras.Sequential(
        [
            keras.Input((3, 4)),
            layers.TimeDistributed(layers.Dense(5), name="steps"),
            layers.Bidirectional(layers.LSTM(6), name="both"),
            layers.Dense(7, name="c"),
            layers.Dense(2, name="d"),
        ]
    )
    small = shrink(model, 0.3, ignored=f"{wrapper}$")
    narrower = {
        layer.name
        for layer in model.layers
        if small.get_layer(layer.name).output.shape != layer.output.shape
    }
    assert narrower == rest


def test_a_nested_model_that_is_ignored_keeps_all_its_widths():
    inner = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, "relu", name="first"),
            layers.Dense(6, name="second"),
        ],
        name="backbone",
    )
    inputs = keras.Input((4,))
    hidden = layers.Dense(8, "relu", name="head")(inner(inputs))
    model = keras.Model(inputs, layers.Dense(2)(hidden))
    assert cuttable(model, "backbone$") == [("head",)]
    small = shrink(model, 0.2, ignored="backbone$")
    assert [w.shape for w in small.get_layer("backbone").weights] == [
        w.shape for w in inner.weights
    ]
    assert small.get_layer("head").units < 8


def test_what_a_lambda_reads_keeps_its_channels():
    def twice(x):
        return 2 * x

    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, name="a"),
            layers.Lambda(twice, name="named"),
            layers.Lambda(lambda x: x + 1, output_shape=lambda s: s),
            layers.Dense(5, name="b"),
            layers.Dense(2, name="c"),
        ]
    )
    assert cuttable(model, None) == [("b",)]
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(
        shrink(model).predict(x, verbose=0), model.predict(x, verbose=0)
    )
    small = shrink(model, 0.3)
    assert small.get_layer("a").units == 4
    assert small.get_layer("named").function is twice
