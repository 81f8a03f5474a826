"""Cutting: exact where it says so, to the share asked for, never in place."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.structured import shrink
from tests.structured_models import (
    arrays,
    functional,
    generator,
    grouped,
    jitter,
    recurrent,
    residual,
    same,
    transformer,
    zero_units,
)

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
