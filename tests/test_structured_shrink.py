"""Cutting: exact where it says so, to the share asked for, never in place."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.structured import groups, shrink


def arrays(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def functional(shape, body):
    inputs = keras.Input(shape)
    return keras.Model(inputs, body(inputs))


def jitter(model, seed=1):
    """No weight at its initial value: biases and statistics too."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype == "float32":
            noise = rng.normal(0, 0.3, weight.shape)
            value = keras.ops.convert_to_numpy(weight) + noise
            positive = "variance" in weight.path
            weight.assign(np.abs(value) + 0.5 if positive else value)
    return model


def zero_units(model, share=0.5, seed=2):
    """Zeroes every variable entry that makes the first units of each group."""
    found = groups(model)
    count = 0
    for group in found:
        gone = np.arange(group.size) < int(share * group.size)
        count += gone.sum()
        for member in group.members:
            if member.role in ("in", "other"):
                continue
            inside = (member.units >= 0) & gone[member.units]
            value = keras.ops.convert_to_numpy(member.variable).copy()
            np.moveaxis(value, member.axis, 0)[inside] = 0
            member.variable.assign(value)
    return count


def same(model, small, x, atol=1e-5):
    outputs = zip(
        keras.tree.flatten(model(x)),
        keras.tree.flatten(small(x)),
        strict=True,
    )
    for before, after in outputs:
        before = keras.ops.convert_to_numpy(before)
        after = keras.ops.convert_to_numpy(after)
        assert np.ptp(before) > 1e-3
        np.testing.assert_allclose(after, before, rtol=0, atol=atol)


def residual(x):
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(6, 1, activation="relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same")(y)
    y = layers.Conv2D(8, 3, padding="same")(layers.PReLU()(y))
    x = layers.Add()([x, y])
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(4, 1, activation="swish")(s)
    x = x * layers.Conv2D(8, 1, activation="sigmoid")(s)
    x = layers.Concatenate()(
        [x, layers.SeparableConv2D(6, 3, padding="same")(x)]
    )
    x = layers.MaxPooling2D()(x)
    return layers.Dense(3)(layers.Flatten()(x))


def grouped(x):
    x = layers.Conv2D(8, 1)(x)
    x = layers.Conv2D(12, 3, groups=4, activation="relu")(x)
    x = layers.GroupNormalization(4)(x)
    x = layers.Conv2D(8, 1)(x)
    x = layers.Conv2D(16, 3, groups=8, activation="tanh")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, activation="relu")(x)
    return layers.Dense(3)(layers.GlobalAveragePooling2D()(x))


def recurrent(x):
    x = layers.Dense(6)(x)
    x = layers.LSTM(6, return_sequences=True)(x)
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(6, activation="relu"))(x)
    x = layers.SimpleRNN(4)(x)
    return layers.Dense(3)(x)


def transformer(x):
    x = layers.Dense(8)(x)
    y = layers.MultiHeadAttention(4, 3)(x, x)
    x = layers.LayerNormalization()(x + y)
    y = layers.Dense(8)(layers.Dense(12, "gelu")(x))
    x = layers.LayerNormalization()(x + y)
    y = layers.GroupQueryAttention(3, 4, 2)(x, x)
    x = x + y
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(x))


def generator(x):
    x = layers.Reshape((2, 2, 8))(layers.Dense(32, "relu")(x))
    x = layers.UpSampling2D()(layers.Conv2DTranspose(6, 2)(x))
    x = layers.ReLU()(keras.ops.reshape(x, (-1, 36, 6)) * 2.0)
    return layers.Dense(3)(layers.Conv1D(4, 3)(x))


BODIES = [
    (residual, (8, 8, 3)),
    (grouped, (8, 8, 3)),
    (recurrent, (5, 4)),
    (transformer, (5, 4)),
    (generator, (7,)),
]
IDS = [body.__name__ for body, _ in BODIES]


@pytest.mark.parametrize("body, shape", BODIES, ids=IDS)
def test_nothing_to_remove_gives_identical_predictions(body, shape):
    model = jitter(functional(shape, body))
    small = shrink(model)
    x = arrays(4, *shape)
    np.testing.assert_array_equal(model(x), small(x))
    assert small.count_params() == model.count_params()
    assert [a.name for a in small.layers] == [a.name for a in model.layers]
    assert small.get_config() == model.get_config()


@pytest.mark.parametrize("body, shape", BODIES, ids=IDS)
def test_zero_units_go_and_predictions_stay(body, shape):
    model = jitter(functional(shape, body))
    assert zero_units(model) > 3
    before = [w.copy() for w in model.get_weights()]
    small = shrink(model)
    assert small.count_params() < 0.8 * model.count_params()
    same(model, small, arrays(4, *shape))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert shrink(small).count_params() == small.count_params()


@pytest.mark.parametrize("body, shape", BODIES, ids=IDS)
def test_a_share_goes_and_the_rest_trains_and_reloads(body, shape, tmp_path):
    model = jitter(functional(shape, body))
    small = shrink(model, 0.4)
    left = small.count_params() / model.count_params()
    assert 0.3 < left <= 0.6
    assert small.output_shape == model.output_shape
    small.compile("sgd", "mse", run_eagerly=True)
    x = arrays(4, *shape)
    small.fit(x, np.zeros_like(small(x)), verbose=0)
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(small(x), loaded(x))
    again = shrink(small, 0.2, scope="global")
    assert again.count_params() <= 0.8 * small.count_params()
    assert np.isfinite(again(x)).all()


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


def test_nested_shared_and_several_inputs_and_outputs():
    shared = layers.Dense(6, "relu")
    inner_input = keras.Input((4, 4, 2))
    y = layers.Conv2D(8, 3, activation="relu")(inner_input)
    inner = keras.Model(inner_input, layers.Conv2D(6, 1)(y), name="inner")
    tail = keras.Sequential(
        [layers.GlobalAveragePooling2D(), layers.Dense(6, "relu")], name="tail"
    )
    a, b = keras.Input((4, 4, 3), name="a"), keras.Input((5,), name="b")
    left = tail(inner(layers.Conv2D(2, 1)(a)))
    right = shared(layers.Dense(5)(shared(layers.Dense(5)(b))[:, :5]))
    both = layers.Add()([left, right])
    model = keras.Model(
        {"a": a, "b": b},
        {"y": layers.Dense(2)(both), "z": layers.Dense(1)(left)},
    )
    jitter(model)
    x = {"a": arrays(4, 4, 4, 3), "b": arrays(4, 5)}
    same(model, shrink(model), x, atol=0)
    zero_units(model)
    small = shrink(model)
    assert small.count_params() < model.count_params()
    same(model, small, x)
    assert set(small(x)) == {"y", "z"}
    assert shrink(model, 0.2).count_params() <= 0.8 * model.count_params()


@pytest.mark.parametrize("of", ["parameters", "macs"])
def test_the_share_of_the_cost_by_hand(of):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(10, 3, use_bias=False),
            layers.Conv2D(10, 3, use_bias=False),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, use_bias=False),
        ]
    )
    small = shrink(model, 0.5, of=of)
    one, two = small.layers[0].filters, small.layers[1].filters
    assert one == two  # the same share of each group
    times = (36, 16, 1) if of == "macs" else (1, 1, 1)

    def cost(n):
        parts = (9 * n, 9 * n * n, n)
        return sum(t * p for t, p in zip(times, parts, strict=True))

    assert cost(one) <= 0.5 * cost(10) < cost(one + 1)


def test_a_measured_cost():
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(32, "relu"), layers.Dense(2)]
    )
    seen = []

    def latency(candidate):
        seen.append(candidate.layers[0].units)
        return 5.0 + candidate.layers[0].units

    small = shrink(model, 0.4, of=latency)
    assert 5 + small.layers[0].units <= 0.6 * 37
    assert 0.6 * 37 < 5 + small.layers[0].units + 2
    assert len(seen) <= 10


def test_round_to_leaves_multiples():
    model = functional((8, 8, 3), residual)
    small = shrink(model, 0.3, round_to=4)
    convolution = [x for x in small.layers if isinstance(x, layers.Conv2D)]
    assert {c.filters for c in convolution} <= {4, 6, 8}
    assert small.count_params() <= 0.7 * model.count_params()


def test_trainable_flags_and_names_survive():
    model = functional((8, 8, 3), residual)
    model.layers[1].trainable = False
    small = shrink(model, 0.3)
    assert [x.trainable for x in small.layers] == [
        x.trainable for x in model.layers
    ]
    assert not small.compiled


def test_mixed_precision_is_kept():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, "relu", dtype="mixed_bfloat16"),
            layers.Dense(2),
        ]
    )
    small = shrink(model, 0.4)
    assert small.layers[0].compute_dtype == "bfloat16"
    assert small.layers[0].kernel.dtype == "float32"


@pytest.mark.parametrize(
    "options, match",
    [
        ({"remove": 1.0}, r"share in \[0, 1\)"),
        ({"remove": 0.5, "of": "bytes"}, "`of` to be one of"),
        ({"remove": 0.5, "importance": "luck"}, "`importance` to be one of"),
        ({"remove": 0.5, "scope": "layer"}, "'group' or 'global'"),
        ({"remove": 0.5, "round_to": 0}, "at least 1"),
        ({"remove": 0.99}, "a share that can go"),
        ({"remove": 0.5, "importance": "taylor"}, "data for importance"),
    ],
)
def test_errors_say_what_was_expected(options, match):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8), layers.Dense(2)]
    )
    with pytest.raises(ValueError, match=match):
        shrink(model, **options)


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


def test_a_table_as_initializer_does_not_stand_in_the_way():
    table = keras.initializers.Constant(arrays(9, 6))
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(9, 6, embeddings_initializer=table),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ]
    )
    small = shrink(model, 0.5)
    assert small.layers[0].output_dim < 6


def test_a_nested_model_with_its_own_call_is_copied_whole():
    @keras.saving.register_keras_serializable("test_structured_shrink")
    class Twice(keras.Model):
        def call(self, inputs):
            return 2 * super().call(inputs)

    inputs = keras.Input((4,))
    inner = Twice(inputs, layers.Dense(3)(layers.Dense(5)(inputs)))
    outer = keras.Input((3,))
    x = layers.Dense(6)(layers.Dense(4)(outer))
    x = inner(layers.Dense(4)(x))
    model = jitter(keras.Model(outer, layers.Dense(2)(x)))
    zero_units(model)
    small = shrink(model)
    assert small.count_params() < model.count_params()
    assert type(small.layers[4]) is Twice
    same(model, small, arrays(4, 3))
