"""What groups cannot follow is named, not guessed."""

import keras
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse.structured import groups
from tests.structured_models import functional, kinds, reasons


def test_every_output_is_fixed():
    x = keras.Input((3,))
    h = layers.Dense(4, name="h")(x)
    model = keras.Model(x, [h, layers.Dense(2)(layers.Dense(5, name="k")(h))])
    assert kinds(model) == [(5, "k")]


def test_what_cannot_be_followed_is_named_with_the_reason():
    def body(x):
        x = layers.Dense(4, name="before")(x)
        x = layers.Lambda(lambda t: t * 2.0, name="free")(x)
        x = layers.Dense(5, name="after")(x)
        x = layers.Softmax(name="soft")(x)
        return layers.Dense(2)(x)

    model = functional((3,), body)
    assert kinds(model) == []
    told = " | ".join(reasons(model))
    assert "free: Lambda is not known to be followed" in told
    assert "soft: softmax across the channels" in told


def test_a_subclass_with_its_own_call_is_not_guessed():
    class Doubled(layers.Dense):
        def call(self, inputs, training=None):
            return keras.ops.flip(super().call(inputs), -1)

    model = functional(
        (3,),
        lambda x: layers.Dense(2)(
            Doubled(4, name="mine")(layers.Dense(5, name="a")(x))
        ),
    )
    assert kinds(model) == []
    assert "mine: Doubled is not known to be followed" in reasons(model)


def test_models_without_a_graph_are_refused():
    class Free(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="a subclassed Free"):
        groups(Free())
    with pytest.raises(TypeError, match="keras.Model"):
        groups(layers.Dense(3))
    with pytest.raises(ValueError, match="Start it with a keras.Input"):
        groups(keras.Sequential([layers.Dense(3)]))


def test_a_sparsified_model_is_refused():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    with pytest.raises(ValueError, match="strip"):
        groups(model)
