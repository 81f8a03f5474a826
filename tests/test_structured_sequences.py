"""Units of recurrent layers and of attention."""

import keras
import pytest
from keras import layers

from keras_sparse.structured import groups
from tests.structured_models import functional, kinds


@pytest.mark.parametrize("kind, gates", [("SimpleRNN", 1), ("GRU", 3)])
def test_recurrent_units_lie_in_every_gate(kind, gates):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Embedding(11, 6, name="words"),
            getattr(layers, kind)(4, name="rnn"),
            layers.Dense(2),
        ]
    )
    assert kinds(model) == [(6, "words"), (4, "rnn")]
    held = [
        m.units.tolist()
        for m in groups(model)[1].members
        if m.variable.name == "recurrent_kernel"
    ]
    assert held == [[0, 1, 2, 3], [0, 1, 2, 3] * gates]


def test_bidirectional_halves_keep_as_many_units():
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.Bidirectional(layers.LSTM(4, name="r"), name="both"),
            layers.Dense(2),
        ]
    )
    assert kinds(model) == [(4, "forward_r+backward_r")]


def test_a_state_ties_encoder_and_decoder():
    a, b = keras.Input((5, 3)), keras.Input((4, 2))
    _, h, c = layers.LSTM(6, return_state=True, name="encoder")(a)
    y = layers.LSTM(6, name="decoder")(b, initial_state=[h, c])
    model = keras.Model([a, b], layers.Dense(2)(y))
    assert kinds(model) == [(6, "encoder+decoder")]


def test_attention_heads_and_the_stream_around_them():
    def body(x):
        x = layers.Dense(8, name="embed")(x)
        y = layers.MultiHeadAttention(4, 3, name="mha")(
            layers.LayerNormalization()(x), x
        )
        x = layers.Add()([x, y])
        return layers.Dense(2)(layers.GlobalAveragePooling1D()(x))

    assert kinds(functional((5, 6), body)) == [(8, "embed+mha"), (4, "mha")]


def test_token_mixing_keeps_the_channels_of_the_other_axis():
    def body(x):
        x = layers.Dense(8, name="embed")(x)
        y = layers.Permute((2, 1))(x)
        y = layers.Dense(5, name="tokens")(y)
        x = layers.Add()([x, layers.Permute((2, 1))(y)])
        return layers.Dense(2)(layers.GlobalAveragePooling1D()(x))

    model = functional((5, 3), body)
    assert kinds(model) == [(8, "embed")]
