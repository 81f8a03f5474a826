"""Data-free merging: the formulas by hand, then what stays exact."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.structured import merge_neurons
from keras_sparse.structured.neuron_saliency import (
    cut_off,
    merges,
    saliency,
    squared_distances,
)
from tests.structured_models import arrays, functional, jitter, same

# Three neurons (1, 0), (1, 1), (4, 0) with biases 0, 0, 3.
KERNEL = np.array([[1.0, 1.0, 4.0], [0.0, 1.0, 0.0]])
BIAS = np.array([0.0, 0.0, 3.0])
OUTGOING = np.array([[1.0, 3.0], [2.0, 0.0], [1.0, 1.0]])


def test_saliency_by_hand():
    squared = squared_distances(KERNEL, BIAS)
    expected = [[np.inf, 1, 18], [1, np.inf, 19], [18, 19, np.inf]]
    np.testing.assert_allclose(squared, expected, atol=1e-12)
    # Mean squares of the outgoing weights are 5, 2 and 1.
    np.testing.assert_allclose(
        saliency(squared, OUTGOING),
        [[np.inf, 2, 18], [5, np.inf, 19], [90, 38, np.inf]],
    )


def test_relative_distance_by_hand():
    squared = squared_distances(KERNEL, BIAS, "relative")
    # |(0, -1)| / |(2, 1)| and 0 / 0; |(3, 0)| / |(5, 0)| + 3 / 3.
    np.testing.assert_allclose(squared[0, 1], 0.2, rtol=1e-6)
    np.testing.assert_allclose(squared[0, 2], 1.6**2, rtol=1e-6)


def test_a_survivor_takes_over_and_becomes_dearer():
    order = merges(squared_distances(KERNEL, BIAS), OUTGOING)
    # 1 goes for 0 at 2; then 0 has (3, 3), 9 x 18, and 2 costs 18.
    assert [(m.survivor, m.gone) for m in order] == [(0, 1), (0, 2)]
    np.testing.assert_allclose([m.saliency for m in order], [2, 18])


def test_merges_against_the_whole_matrix():
    """The algorithm as printed: a matrix, its least entry, a new column."""
    kernel, bias, a = arrays(4, 12), arrays(12, seed=1), arrays(12, 3, seed=2)
    squared = squared_distances(kernel, bias)
    order = merges(squared, a)
    a = a.astype("float64")
    for each in order:
        matrix = saliency(squared, a)
        least = np.unravel_index(np.argmin(matrix), matrix.shape)
        assert (each.survivor, each.gone) == least
        assert each.saliency == pytest.approx(matrix[least])
        a[each.survivor] += a[each.gone]
        squared[:, each.gone] = squared[each.gone] = np.inf


def test_cut_offs():
    order = merges(squared_distances(KERNEL, BIAS), OUTGOING)
    costs = np.r_[1 + np.arange(10) / 10, 2.0 * 2 ** np.arange(5)]
    found = [type(order[0])(0, 1, cost) for cost in costs]
    # Logarithms from the 8th on, log 1.7, to the 15th, log 32: the 11th,
    # log 2, lies farthest below the chord.
    assert cut_off("foot", np.array([]), found) == 11
    values = np.random.default_rng(0).normal(5, 0.3, 999)
    matrix = np.r_[values, 0.0, 1e9, np.inf]
    assert cut_off("mode", matrix, found) == 12


def two_layers(activation, *between):
    model = functional(
        (4,),
        lambda x: _chain(
            x, layers.Dense(6, activation, name="hidden"), between
        ),
    )
    return jitter(model)


def _chain(x, first, between):
    x = first(x)
    for layer in between:
        x = layer(x)
    return layers.Dense(3, name="logits")(x)


def twin(layer, i, j, factor=1.0):
    kernel, *bias = layer.get_weights()
    kernel[:, j] = factor * kernel[:, i]
    for each in bias:
        each[j] = factor * each[i]
    layer.set_weights([kernel, *bias])


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_identical_neurons_merge_exactly(activation):
    model = two_layers(activation, layers.Dropout(0.5))
    twin(model.get_layer("hidden"), 1, 4)
    before = [w.copy() for w in model.get_weights()]
    small = merge_neurons(model, 1, verbose=False)
    assert small.get_layer("hidden").units == 5
    same(model, small, arrays(16, 4))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_multiples_merge_exactly_only_where_the_activation_scales():
    for activation, is_exact in [("relu", True), ("tanh", False)]:
        model = two_layers(activation)
        twin(model.get_layer("hidden"), 1, 4, factor=3.0)
        small = merge_neurons(model, 1, verbose=False)
        x = arrays(16, 4)
        error = np.abs(np.asarray(model(x)) - np.asarray(small(x))).max()
        assert (error < 1e-5) == is_exact


def test_a_dead_neuron_goes_first():
    model = two_layers("relu")
    twin(model.get_layer("hidden"), 0, 2, factor=0.0)
    same(model, merge_neurons(model, 1, verbose=False), arrays(16, 4))


@pytest.mark.parametrize(
    "between",
    [
        [layers.BatchNormalization(), layers.ReLU()],
        [layers.ReLU(), layers.BatchNormalization(), layers.Dropout(0.1)],
    ],
)
def test_batch_normalization_is_folded_first(between):
    model = two_layers(None, *[x.from_config(x.get_config()) for x in between])
    same(model, merge_neurons(model, 0, verbose=False), arrays(16, 4))
    hidden = model.get_layer("hidden")
    [norm] = [x for x in model.layers if "batch" in x.name]
    # Neurons that are the same after the normalization, not before it.
    twin(hidden, 1, 4)
    *affine, mean, variance = norm.get_weights()
    for each in (*affine, mean, variance):
        each[4] = each[1]
    if norm.name == model.layers[2].name:
        kernel, bias = hidden.get_weights()
        kernel[:, 4] *= 2
        bias[4] *= 2
        hidden.set_weights([kernel, bias])
        mean[4] *= 2
        variance[4] = 4 * variance[1] + 3 * norm.epsilon
    norm.set_weights([*affine, mean, variance])
    small = merge_neurons(model, 1, verbose=False)
    assert not [x for x in small.layers if "batch" in x.name]
    same(model, small, arrays(16, 4))


def test_several_readers_and_flattened_positions():
    def body(x):
        x = layers.Dense(6, "relu", use_bias=False, name="hidden")(x)
        a = layers.Dense(2)(layers.Flatten()(x))
        b = layers.Conv1D(2, 2)(layers.Concatenate()([x, x]))
        b = layers.GlobalAveragePooling1D()(b)
        c = layers.Dense(2)(layers.GlobalMaxPooling1D()(x))
        return layers.Add()([a, b, c])

    model = jitter(functional((5, 4), body))
    twin(model.get_layer("hidden"), 0, 3, factor=0.5)
    twin(model.get_layer("hidden"), 2, 5, factor=2.0)
    small = merge_neurons(model, {"hidden": 2}, verbose=False)
    assert small.get_layer("hidden").units == 4
    same(model, small, arrays(8, 5, 4))


def test_layers_in_a_row_and_a_nested_model(capsys):
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, "relu", name="one")]
    )
    inputs = keras.Input((4,))
    x = layers.Dense(6, "relu", name="two")(inner(inputs))
    model = jitter(keras.Model(inputs, layers.Dense(3, name="end")(x)))
    twin(inner.layers[0], 1, 4, factor=2.0)
    small = merge_neurons(model, {"one": 1}, verbose=False)
    same(model, small, arrays(8, 4))
    keras.utils.enable_interactive_logging()
    try:
        half = merge_neurons(model, 0.5)
    finally:
        keras.utils.disable_interactive_logging()
    text = capsys.readouterr().out
    assert "one 8 to 4, two 6 to 3; not merged: end (the model's" in text
    assert half.get_layer("two").get_weights()[0].shape == (4, 3)


def test_what_cannot_be_merged_is_named():
    def body(x):
        y = layers.Dense(4, name="added")(x)
        y = layers.Add()([x, y])
        y = layers.Dense(4, name="squashed")(y)
        y = layers.LayerNormalization(name="norm")(y)
        return layers.Dense(3, "softmax", name="end")(y)

    model = functional((4,), body)
    with pytest.raises(ValueError, match="squashed.*norm.*LayerNorm.*end"):
        merge_neurons(model, 1)
    with pytest.raises(ValueError, match="Leave it out"):
        merge_neurons(model, 1, where="squashed")
    plain = two_layers("relu")
    for wrong in (
        "knee",
        1.0,
        -1,
        True,
        {},
        {"hidden": 0.5},
        {"hidden": "mode"},
    ):
        with pytest.raises(ValueError, match="`remove` to be a number"):
            merge_neurons(plain, wrong)
    with pytest.raises(ValueError, match="which has 6"):
        merge_neurons(plain, 6)
    with pytest.raises(ValueError, match="there are"):
        merge_neurons(plain, {"nobody": 1})
    with pytest.raises(ValueError, match="`distance`"):
        merge_neurons(plain, 1, distance="cosine")


def test_on_digits_it_beats_cutting(tmp_path):
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = (data.data / 16).astype("float32"), data.target
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(100, "relu", name="hidden"),
            layers.Dense(10, name="logits"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(x[:1400], y[:1400], epochs=20, verbose=0)

    def accuracy(each):
        scores = np.asarray(each(x[1400:]))
        return np.mean(scores.argmax(1) == y[1400:])

    small = merge_neurons(model, 70, verbose=False)
    assert small.count_params() == 64 * 30 + 30 + 30 * 10 + 10
    merged = accuracy(small)
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    assert accuracy(loaded) == merged
    kernel, bias = model.get_layer("logits").get_weights()
    weights = model.get_layer("hidden").get_weights()
    size = np.square(weights[0]).sum(0) + np.square(weights[1])
    kernel[np.argsort(size)[:70]] = 0
    before = accuracy(model)
    model.get_layer("logits").set_weights([kernel, bias])
    assert before - merged < before - accuracy(model)
    for rule in ("mode", "foot"):
        units = merge_neurons(small, rule, verbose=False).layers[0].units
        assert 1 <= units < 30


def test_a_batch_normalization_of_several_layers_is_folded_once():
    def body(x):
        parts = [layers.Dense(n, "relu", name=f"part{n}")(x) for n in (3, 4)]
        x = layers.BatchNormalization()(layers.Concatenate()(parts))
        return layers.Dense(2, name="end")(x)

    model = functional((5,), body)
    jitter(model)
    for remove in (0, {"part3": 0}, {"part3": 0, "part4": 0}):
        small = merge_neurons(model, remove, verbose=False)
        same(model, small, arrays(8, 5))


def test_rules_where_saliencies_tie_and_neurons_that_nobody_reads():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    kernel = np.concatenate([basis, basis[:, :1] * (1 + 1e-7)], axis=1)
    outgoing = np.ones((21, 3))
    outgoing[4] = 0.0
    squared = squared_distances(kernel, np.zeros(21))
    costs = saliency(squared, outgoing)
    assert np.isfinite(costs[~np.eye(21, dtype=bool)]).all()
    found = merges(squared, outgoing)
    assert 1 <= cut_off("mode", costs, found) <= 20


def test_a_share_is_rounded():
    hidden = layers.Dense(100, "relu", name="hidden")
    model = functional((4,), lambda x: layers.Dense(2)(hidden(x)))
    small = merge_neurons(model, 0.29, verbose=False)
    assert small.get_layer("hidden").units == 71
