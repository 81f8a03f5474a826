"""Which channels go together: read from the graph, counted by hand."""

import keras
import numpy as np
from keras import layers

from keras_sparse.structured import groups
from tests.structured_models import functional, kinds, reasons


def test_a_group_prints_makers_readers_and_reasons():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, name="a"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(2, name="logits"),
        ]
    )
    assert str(groups(model)) == (
        "1 groups, 1 fixed\n"
        "  6 units of a, through bn, read by logits\n"
        "  2 units of logits; fixed: the model's output"
    )


def test_flatten_keeps_every_position_of_a_channel():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Conv2D(5, 3, name="a"),
            layers.Flatten(),
            layers.Dense(2, name="b"),
        ]
    )
    (group,) = groups(model)
    (rows,) = [m for m in group.members if m.layer.name == "b"]
    # 2 x 2 positions, channels last: row r belongs to channel r mod 5.
    np.testing.assert_array_equal(rows.units, np.arange(20) % 5)


def test_flatten_channels_first_turns_to_channels_last():
    model = functional(
        (3, 4, 4),
        lambda x: layers.Dense(2)(
            layers.Flatten(data_format="channels_first")(
                layers.Conv2D(5, 3, data_format="channels_first")(x)
            )
        ),
    )
    (group,) = groups(model)
    (rows,) = [m for m in group.members if len(m.units) == 20]
    np.testing.assert_array_equal(rows.units, np.arange(20) % 5)


def test_residual_add_ties_the_layers_before_it():
    def body(x):
        x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
        y = layers.Conv2D(4, 3, padding="same", name="inner")(x)
        y = layers.Conv2D(8, 3, padding="same", name="outer")(y)
        return layers.Dense(2)(
            layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
        )

    assert kinds(functional((8, 8, 3), body)) == [
        (8, "stem+outer"),
        (4, "inner"),
    ]


def test_add_with_the_input_fixes_the_other_branch():
    model = functional(
        (8,), lambda x: layers.Dense(2)(x + layers.Dense(8, name="a")(x))
    )
    assert kinds(model) == []
    assert any("the model's input" in reason for reason in reasons(model))


def test_concatenate_lays_groups_beside_each_other():
    def body(x):
        a = layers.Dense(3, name="a")(x)
        b = layers.Dense(4, name="b")(x)
        both = layers.Concatenate()([a, x, b])
        c = layers.Dense(15, name="c")(x)
        return layers.Dense(2, name="d")(layers.Add()([both, c]))

    model = functional((8,), body)
    assert kinds(model) == [(3, "a+c"), (4, "b+c")]
    (fixed,) = [g for g in groups(model).fixed if g.makers == ("c",)]
    assert fixed.size == 8


def test_squeeze_excite_is_tied_to_what_it_scales():
    def body(x):
        x = layers.Conv2D(6, 3, name="a")(x)
        s = layers.GlobalAveragePooling2D(keepdims=True)(x)
        s = layers.Conv2D(2, 1, activation="relu", name="squeeze")(s)
        s = layers.Conv2D(6, 1, activation="sigmoid", name="excite")(s)
        x = layers.Multiply()([x, s])
        return layers.Dense(2)(layers.GlobalMaxPooling2D()(x))

    assert kinds(functional((8, 8, 3), body)) == [
        (6, "a+excite"),
        (2, "squeeze"),
    ]


def test_depthwise_and_separable_repeat_their_channels():
    def body(x):
        x = layers.Conv2D(4, 1, name="a")(x)
        x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(x)
        x = layers.SeparableConv2D(5, 3, depth_multiplier=3, name="sep")(x)
        return layers.Dense(2)(layers.GlobalAveragePooling2D()(x))

    model = functional((8, 8, 3), body)
    assert kinds(model) == [(4, "a"), (5, "sep")]
    members = {
        (m.layer.name, m.variable.name, m.axis): m.units.tolist()
        for m in groups(model)[0].members
    }
    assert members["dw", "kernel", 2] == [0, 1, 2, 3]
    assert members["dw", "bias", 0] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert members["sep", "depthwise_kernel", 2] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (
        members["sep", "pointwise_kernel", 2]
        == np.repeat(np.arange(4), 6).tolist()
    )


def test_grouped_convolution_keeps_its_blocks_equal():
    def body(x):
        x = layers.Conv2D(8, 1, name="a")(x)
        x = layers.Conv2D(12, 3, groups=4, name="g")(x)
        return layers.Dense(2)(layers.GlobalAveragePooling2D()(x))

    # Channels at one place of all four blocks make a unit.
    assert kinds(functional((8, 8, 3), body)) == [(2, "a"), (3, "g")]


def test_one_channel_to_a_block_goes_with_its_block():
    def body(x):
        x = layers.Conv2D(8, 1, name="a")(x)
        x = layers.Conv2D(16, 3, groups=8, name="g")(x)
        return layers.Dense(2)(layers.GlobalAveragePooling2D()(x))

    assert kinds(functional((8, 8, 3), body)) == [(8, "a")]


def test_group_normalization_makes_units_of_whole_groups():
    def body(x):
        x = layers.Conv2D(12, 1, name="a")(x)
        x = layers.GroupNormalization(4)(x)
        return layers.Dense(2)(layers.GlobalAveragePooling2D()(x))

    (group,) = groups(functional((8, 8, 3), body))
    assert group.size == 4
    (made,) = [m for m in group.members if m.role == "out"]
    np.testing.assert_array_equal(made.units, np.repeat(np.arange(4), 3))


def test_reshape_ties_what_it_lays_over_each_other():
    def body(x):
        x = layers.Dense(12, name="a")(x)
        x = layers.Reshape((2, 2, 3))(x)
        x = layers.Conv2DTranspose(4, 2, name="t")(x)
        return layers.Dense(2)(layers.GlobalAveragePooling2D()(x))

    found = groups(functional((5,), body))
    assert [(g.size, g.makers) for g in found] == [(3, ("a",)), (4, ("t",))]
    (made,) = [m for m in found[0].members if m.role == "out"]
    np.testing.assert_array_equal(made.units, np.arange(12) % 3)


def test_channel_shuffle():
    def body(x):
        x = layers.Conv2D(6, 1, name="a")(x)
        x = layers.Reshape((4, 4, 2, 3))(x)
        x = layers.Permute((1, 2, 4, 3))(x)
        x = layers.Reshape((4, 4, 6))(x)
        return layers.Dense(2)(layers.GlobalAveragePooling2D()(x))

    assert kinds(functional((4, 4, 3), body)) == [(3, "a")]


def test_prelu_padding_cropping_upsampling_and_pooling_pass():
    def body(x):
        x = layers.Conv2D(6, 1, name="a")(x)
        for layer in (
            layers.PReLU(name="slopes"),
            layers.ZeroPadding2D(),
            layers.Cropping2D(),
            layers.UpSampling2D(),
            layers.AveragePooling2D(2),
            layers.Dropout(0.1),
        ):
            x = layer(x)
        return layers.Dense(2)(layers.Flatten()(x))

    model = functional((4, 4, 3), body)
    assert kinds(model) == [(6, "a")]
    assert groups(model)[0].through == ("slopes",)


def test_nested_and_shared_layers():
    shared = layers.Dense(6, name="shared")
    inner_input = keras.Input((4,))
    inner = keras.Model(
        inner_input,
        layers.Dense(5, name="deep")(layers.Dense(7, name="hid")(inner_input)),
        name="inner",
    )
    a, b = keras.Input((3,)), keras.Input((3,))
    left = inner(layers.Dense(4, name="pre_a")(shared(a)))
    right = inner(layers.Dense(4, name="pre_b")(shared(b)))
    both = layers.Concatenate()([left, right])
    model = keras.Model([a, b], layers.Dense(2)(both))
    assert sorted(kinds(model)) == [
        (4, "pre_b+pre_a"),
        (5, "deep"),
        (6, "shared"),
        (7, "hid"),
    ]


def test_operations_in_the_graph():
    def body(x):
        x = layers.Dense(4, name="a")(x)
        x = keras.ops.relu(x * 2.0 + 1.0)
        x = keras.ops.reshape(x, (-1, 2, 2))
        x = layers.Dense(3, name="b")(x)
        return layers.Dense(2)(keras.ops.mean(x, axis=1))

    assert kinds(functional((3,), body)) == [(2, "a"), (3, "b")]
