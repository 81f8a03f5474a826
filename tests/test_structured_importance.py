"""Scores of units, each from its formula."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.structured import groups, shrink
from keras_sparse.structured.importance import scores
from keras_sparse.structured.values import Values


def two_layers():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(2, "relu", name="a"),
            layers.Dense(1, name="b"),
        ]
    )
    a, b = model.layers
    a.set_weights([np.array([[3.0, 0.0], [4.0, 1.0]]), np.zeros(2)])
    b.set_weights([np.array([[12.0], [2.0]]), np.zeros(1)])
    return model


def score(model, importance, **options):
    found = groups(model)
    return scores(model, found, Values(), importance, **options)


def test_magnitude_is_the_norm_of_all_entries_that_go():
    (given,) = score(two_layers(), "magnitude")
    # Column (3, 4) and row 12; column (0, 1) and row 2.
    np.testing.assert_allclose(given, [13.0, np.sqrt(5.0)])
    (even,) = score(two_layers(), "magnitude", normalize=True)
    np.testing.assert_allclose(even.mean(), 1.0)


def test_taylor_is_the_squared_derivative_of_a_gate():
    x, y = np.array([[1.0, 1.0]]), np.array([[0.0]])
    (given,) = score(two_layers(), "taylor", data=(x, y), loss="mse")
    # Units 7 and 1; output 86, dL/dout = 2 * 86; gates 7 * 12 and 1 * 2.
    gates = 2 * 86 * np.array([84.0, 2.0])
    np.testing.assert_allclose(given, gates**2, rtol=1e-5)


def test_taylor_takes_batches_and_the_compiled_loss():
    model = two_layers()
    model.compile(loss="mse")
    batch = (np.array([[1.0, 1.0]]), np.array([[0.0]]))
    (once,) = score(model, "taylor", data=batch)
    for times in (2, 3):
        for kind in (tuple, list):
            batches = [kind(batch)] * times
            (again,) = score(model, "taylor", data=batches)
            np.testing.assert_allclose(once, again)


def test_activation_is_the_energy_that_readers_draw():
    x = np.array([[1.0, 1.0], [-1.0, -1.0]])
    (given,) = score(two_layers(), "activation", data=x)
    # relu leaves 7 and 1 of the first sample; mean squares 49/2 and 1/2.
    np.testing.assert_allclose(
        given, np.sqrt([49 / 2 * 144, 1 / 2 * 4]), rtol=1e-6
    )


@pytest.mark.parametrize("importance", ["taylor", "activation"])
def test_batches_of_a_dataset_count_as_the_arrays_do(importance):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 2)), rng.normal(size=(64, 1))
    x, y = x.astype("float32"), y.astype("float32")
    given = (x, y) if importance == "taylor" else x
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    options = {"loss": "mse"} if importance == "taylor" else {}
    (arrays,) = score(two_layers(), importance, data=given, **options)
    (dataset,) = score(two_layers(), importance, data=batches, **options)
    np.testing.assert_allclose(dataset, arrays, rtol=1e-5)


@pytest.mark.parametrize("importance", ["taylor", "activation"])
def test_data_that_is_none_of_these(importance):
    for data, message in ((3, "Received: int"), ([], "at least one batch")):
        with pytest.raises(ValueError, match=message):
            score(two_layers(), importance, data=data, loss="mse")


def test_activation_sees_inside_nested_models():
    inner = keras.Sequential(
        [keras.Input((2,)), layers.Dense(2, name="in"), layers.Dense(3)]
    )
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1)(inner(inputs)))
    given = score(model, "activation", data=np.ones((3, 2), "float32"))
    assert [len(each) for each in given] == [2, 3]
    assert all((each > 0).all() for each in given)


def test_batchnorm_is_the_mean_scale_and_nothing_without_one():
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(2, 1)(inputs)
    one, two = layers.BatchNormalization(), layers.BatchNormalization()
    x = layers.Conv2D(3, 1)(layers.Concatenate()([one(x), two(x)]))
    x = layers.Dense(1)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    one.gamma.assign([1.0, -2.0])
    two.gamma.assign([3.0, 0.5])
    given = score(model, "batchnorm")
    np.testing.assert_allclose(given[0], [2.0, 1.25])
    assert np.isnan(given[1]).all()
    small = shrink(model, 0.2, importance="batchnorm")
    assert [c.filters for c in small.layers if hasattr(c, "filters")] == [1, 3]


def test_your_own_score_decides_what_stays():
    model = two_layers()
    small = shrink(
        model, 0.3, importance=lambda group: np.arange(group.size) == 1
    )
    np.testing.assert_array_equal(
        small.layers[0].get_weights()[0], [[0.0], [1.0]]
    )
    with pytest.raises(ValueError, match="each of the 2 units"):
        shrink(model, 0.3, importance=lambda group: np.zeros(3))


def test_global_takes_from_the_group_with_low_scores():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, name="a"),
            layers.Dense(8, name="b"),
            layers.Dense(1),
        ]
    )

    def importance(group):
        # Scores of one mean: equal ones in `a`, mostly low ones in `b`.
        high = np.array([0.1] * 6 + [3.7, 3.7])
        return np.ones(8) if group.makers == ("a",) else high

    small = shrink(model, 0.3, importance=importance, scope="global")
    assert small.get_layer("a").units == 8
    assert small.get_layer("b").units < 5


@pytest.mark.parametrize("importance", ["taylor", "activation"])
def test_scores_from_data_leave_the_model_as_it_was(importance):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(2)(layers.Flatten()(layers.Dropout(0.5)(x)))
    model = keras.Model(inputs, x)
    before = model.get_weights()
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 3)).astype("float32")
    data = (x, np.zeros((40, 2))) if importance == "taylor" else x
    small = shrink(model, 0.5, importance=importance, data=data, loss="mse")
    assert small.count_params() <= 0.5 * model.count_params()
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_equal_scores_take_the_same_share_of_every_group():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, name="a"),
            layers.Dense(4, name="b"),
            layers.Dense(1),
        ]
    )
    small = shrink(
        model,
        0.5,
        importance=lambda group: np.ones(group.size),
        scope="global",
    )
    a, b = small.get_layer("a").units, small.get_layer("b").units
    assert 0 <= a - 2 * b <= 1
