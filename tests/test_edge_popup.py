"""Scores over frozen weights: choice, gradients, freezing, whole life."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_sparse as ks
from keras_sparse._arithmetic.largest import largest
from tests.contract import LAYERS, check_contract

KINDS = {
    "EdgePopup": lambda: ks.EdgePopup(0.5),
    "Supermask": lambda: ks.Supermask(rescale=True),
}


def built(made, scores):
    made.build(np.shape(scores))
    made.scores.assign(scores)
    return made


def net(make, **settings):
    keras.utils.set_random_seed(0)
    settings = {"use_bias": False, **settings}
    model = keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(30, "relu", **settings),
            layers.Dense(4, **settings),
        ]
    )
    return ks.sparsify(model, make(), verbose=False)


X = np.random.default_rng(0).normal(size=(256, 20)).astype("float32")
Y = (X[:, 0] > 0) + 2 * (X[:, 1] > 0)


def test_largest_agrees_with_sorting_and_counts_ties():
    rng = np.random.default_rng(0)
    for size in (
        rng.lognormal(0, 9, 1000),
        rng.integers(0, 4, 1000),  # mostly ties
        np.zeros(7),
        np.array([np.inf, 1e-45, 0.0, 3e38, 1e-40]),
    ):
        size = size.astype("float32")
        order = np.argsort(size, kind="stable")
        for count in {1, 2, size.size // 2, size.size}:
            expected = np.zeros(size.size, bool)
            expected[order[-count:]] = True
            found = largest(ops.array(size), count)
            np.testing.assert_array_equal(found, expected)
    square = largest(ops.reshape(ops.arange(6.0), (2, 3)), 2)
    assert np.asarray(square).tolist() == [[False] * 3, [False, True, True]]


def test_edge_popup_by_hand():
    import tensorflow as tf

    w = tf.constant([1.0, -2.0, 3.0, -4.0])
    upstream = tf.constant([2.0, 3.0, 5.0, 7.0])
    made = built(ks.EdgePopup(0.5), [0.1, -0.4, 0.3, -0.2])
    with tf.GradientTape() as tape:
        tape.watch(w)
        value = made(w, training=True)
        loss = ops.sum(upstream * value)
    dw, ds = tape.gradient(loss, [w, made.scores.value])
    assert np.asarray(value).tolist() == [0, -2, 3, 0]
    assert dw is None
    # upstream * w * sign(s), kept or not.
    assert np.asarray(ds).tolist() == [2, 6, 15, 28]


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_double_precision(kind):
    model = net(KINDS[kind], dtype="float64")
    model.compile("adam", "mse", run_eagerly=True)
    before = model.layers[0].kernel.numpy(), scores(model)
    model.fit(X[:32], X[:32, :4], verbose=0)
    assert before[0].dtype == "float64"
    np.testing.assert_array_equal(model.layers[0].kernel, before[0])
    assert not np.array_equal(scores(model), before[1])
    trained = model.predict(X, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model to compile again
        ks.strip(model)
    np.testing.assert_allclose(model.predict(X, verbose=0), trained, 1e-6)


def scores(model):
    [(_, _, made), _] = ks.parametrized(model)
    return made.scores.numpy()


def test_supermask_by_hand():
    import tensorflow as tf

    w = tf.constant([1.0, -2.0, 3.0])
    made = built(ks.Supermask(rescale=True, seed=1), [40.0, 40.0, -40.0])
    assert np.asarray(made(w)).tolist() == [1.5, -3, 0]
    # Odds of one or zero leave nothing to chance.
    assert np.asarray(made(w, training=True)).tolist() == [1.5, -3, 0]
    made = built(ks.Supermask(), [0.0, np.log(3.0), -np.log(3.0)])
    made.draw.assign([0.4, 0.8, 0.3])  # of odds 1/2, 3/4, 1/4
    assert np.asarray(made(w)).tolist() == [1, 0, 0]
    with tf.GradientTape() as tape:
        loss = ops.sum(made(w, training=True))
    # w p (1 - p) with p = 1/2, 3/4, 1/4
    gradient = np.asarray(tape.gradient(loss, made.scores.value))
    np.testing.assert_allclose(gradient, [0.25, -0.375, 0.5625], rtol=1e-6)


def test_supermask_draws_with_its_odds():
    made = built(ks.Supermask(seed=3), np.full((200, 100), np.log(3.0)))
    ones = ops.ones((200, 100))
    draws = [np.asarray(made(ones, training=True)) for _ in range(2)]
    # Four standard deviations of 20,000 draws.
    assert abs(draws[0].mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 20000)
    assert not np.array_equal(*draws)
    # A frozen layer does not draw anew.
    made.trainable = False
    np.testing.assert_array_equal(made(ones, training=True), made(ones))


@pytest.mark.parametrize(
    "make", [lambda: ks.EdgePopup(0.3), lambda: ks.Supermask()]
)
def test_only_scores_train_and_strip_gives_the_weights_back(make):
    model = net(make, kernel_regularizer="l2")
    kernels = [layer.kernel for layer in model.layers]
    before = [np.array(kernel) for kernel in kernels]
    assert [v.name for v in model.trainable_variables] == ["scores"] * 2
    model.trainable = False
    model.trainable = True  # which thaws every other weight
    model.compile(
        keras.optimizers.AdamW(0.05, weight_decay=0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = model.evaluate(X, Y, verbose=0)[1]
    model.fit(X, Y, batch_size=32, epochs=6, verbose=0)
    assert model.evaluate(X, Y, verbose=0)[1] > start + 0.1
    for kernel, value in zip(kernels, before, strict=True):
        np.testing.assert_array_equal(kernel, value)
    trained = model.predict(X, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model to compile again
        ks.strip(model)
    np.testing.assert_array_equal(model.predict(X, verbose=0), trained)
    assert model.trainable_variables == kernels
    for kernel, value in zip(kernels, before, strict=True):
        kept = np.asarray(kernel) != 0
        np.testing.assert_array_equal(np.asarray(kernel)[kept], value[kept])
        if isinstance(make(), ks.EdgePopup):
            assert kept.sum() == round(0.3 * kept.size)


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_where_a_file_was_saved(kind, tmp_path):
    model = net(KINDS[kind])
    model.compile("adam", "mse")
    target = np.zeros((256, 4))
    model.fit(X, target, verbose=0, shuffle=False)
    path = str(tmp_path / "model.keras")
    ks.save(model, path)
    loaded = keras.saving.load_model(path)
    assert len(loaded.trainable_variables) == 2
    for each in (model, loaded):
        each.fit(X, target, verbose=0, shuffle=False)
    np.testing.assert_array_equal(
        *(each.predict(X, verbose=0) for each in (model, loaded))
    )


def test_frozen_layers_stay_frozen():
    keras.utils.set_random_seed(0)
    layer = layers.Dense(3, trainable=False)
    layer.build((None, 4))
    ks.sparsify(layer, ks.EdgePopup(), verbose=False)
    assert not layer.trainable_variables
    assert not ks.strip(layer).kernel.trainable


def scores_at_random(each, rng):
    each.scores.assign(rng.normal(size=each.scores.shape))


SOME_LAYERS = (
    "Dense",
    "Conv2D",
    "DepthwiseConv2D",
    "LSTM",
    "MultiHeadAttention",
)


@pytest.mark.parametrize("layer", SOME_LAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_life_of_a_model(kind, layer, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*changed which variables")
        model = check_contract(
            LAYERS[layer], KINDS[kind](), scores_at_random, tmp_path, False
        )
    assert all(v.trainable for v in model.variables if "kernel" in v.name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_life_under_mixed_precision(kind, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        test_life_of_a_model(kind, "Dense", tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ks.EdgePopup(0.0),
        lambda: ks.EdgePopup(1.5),
        lambda: ks.initializers.SignedKaimingConstant(keep=30),
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match="Expected.*Received"):
        wrong()


def test_signed_constants_by_hand():
    kaiming = ks.initializers.SignedKaimingConstant
    values = np.asarray(kaiming(seed=1)((3, 3, 2, 500)))
    assert np.unique(np.abs(values)).tolist() == [np.float32(1 / 3)]
    # Half of 9000 signs, within four standard deviations.
    assert abs((values > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(values.size)
    scaled = np.abs(kaiming(keep=0.25)((8, 5)))
    np.testing.assert_array_equal(scaled, 1.0)
    glorot = ks.initializers.SignedGlorotConstant()
    np.testing.assert_array_equal(np.abs(glorot((3, 5))), 0.5)
    again = keras.initializers.deserialize(
        keras.initializers.serialize(kaiming(0.25, seed=7))
    )
    assert again.keep == 0.25
    np.testing.assert_array_equal(again((4, 4)), kaiming(0.25, seed=7)((4, 4)))
