"""GeneralizedDropout: draws, gradients and priors by hand, then training."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse import _surgery
from keras_sparse._selection.gradients import differentiate
from keras_sparse.layers.generalized_dropout import GeneralizedDropout
from tests.contract import predict


def with_keep(keep, *prior, **arguments):
    layer = GeneralizedDropout(*prior, **arguments)
    layer.build((None, len(keep)))
    layer.keep.assign(keep)
    return layer


def gradient(layer, of):
    def scalar(tensors):
        with keras.StatelessScope(state_mapping=[(layer.keep, tensors[0])]):
            return of()

    return differentiate(scalar, [_surgery.read(layer.keep)])[0]


def test_draws_are_bernoulli_and_evaluation_multiplies_by_k():
    layer = with_keep([0.0, 0.25, 1.0, 0.05], seed=3)
    x = 2 * np.ones((40000, 4), "float32")
    y = np.asarray(layer(x, training=True))
    assert set(np.unique(y)) == {0.0, 2.0}
    np.testing.assert_allclose(y.mean(0), [0, 0.5, 2, 0.1], atol=0.02)
    assert (y[:, 2] == 2).all() and (y[:, 0] == 0).all()
    np.testing.assert_allclose(layer(x[:1]), [[0, 0.5, 2, 0]])
    assert layer.channel_scale().tolist() == [0, 0.25, 1, 0]


def test_one_draw_for_each_example_and_channel():
    layer = GeneralizedDropout(initial=0.5)
    y = np.asarray(layer(np.ones((64, 4, 4, 3), "float32"), training=True))
    assert (y == y[:, :1, :1]).all()
    assert len(np.unique(y[:, 0, 0], axis=0)) > 4


def test_the_gradient_passes_straight_through_the_draw():
    x = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]], "float32")
    layer = with_keep([0.0, 0.5, 1.0])
    found = gradient(layer, lambda: keras.ops.sum(layer(x, training=True)))
    np.testing.assert_allclose(found, [5, 3, -3])  # whatever was drawn


@pytest.mark.parametrize(
    "prior, value, slopes",
    [
        ((1, 1), 0.0, [0, 0]),
        # -log k - log(1 - k), and its slope -1 / k + 1 / (1 - k)
        ((2, 2), -np.log(0.25 * 0.75 * 0.8 * 0.2), [-8 / 3, 3.75]),
        # 2 (-log(1 - k)): the mode is 0
        ((1, 3), -2 * np.log(0.75 * 0.2), [8 / 3, 10]),
        # 2 (-log k): the mode is 1
        ((3, 1), -2 * np.log(0.25 * 0.8), [-8, -2.5]),
        # .9 log k + .1 log(1 - k): modes 0 and 1, apart at k = .9
        (
            (0.1, 0.9),
            0.9 * np.log(0.2) + 0.1 * np.log(0.15),
            [0.9 / 0.25 - 0.1 / 0.75, 0.9 / 0.8 - 0.1 / 0.2],
        ),
    ],
)
def test_prior(prior, value, slopes):
    layer = with_keep([0.25, 0.8], *prior, train_size=10, kl_weight=3.0)
    np.testing.assert_allclose(layer.divergence(), value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.losses[0], 0.3 * value, rtol=1e-5)
    np.testing.assert_allclose(
        gradient(layer, layer.divergence), slopes, rtol=1e-5
    )


def test_the_prior_is_bounded_and_keep_stays_in_its_limits():
    layer = with_keep([0.0, 1.0], 0.5, 0.5)
    expected = 2 * 0.5 * np.log(1e-3)
    np.testing.assert_allclose(layer.divergence(), expected, rtol=1e-5)
    push = [np.array([9.0, -9.0], "float32")]
    keras.optimizers.SGD(1.0).apply(push, [layer.keep])
    np.testing.assert_array_equal(layer.keep, [0, 1])
    fast = GeneralizedDropout(rate=10.0)
    fast.build((None, 2))
    np.testing.assert_allclose(fast.keep, [0.1, 0.1])
    np.testing.assert_allclose(fast.channel_scale(), [1, 1])
    keras.optimizers.SGD(1.0).apply([-push[0]], [fast.keep])
    np.testing.assert_allclose(fast.channel_scale(), [1, 0])


def test_a_frozen_layer_draws_no_noise():
    layer = with_keep([0.5, 0.5], 0.5, 0.5, train_size=10)
    layer.trainable = False
    x = np.ones((4, 2), "float32")
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    assert layer.losses == []


def network(policy=None, **arguments):
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(40, "relu", dtype=policy),
            GeneralizedDropout(dtype=policy, name="gate", **arguments),
            keras.layers.Dense(10),
        ],
        name="net",
    )


def test_same_seed_same_draws():
    x = np.ones((8, 64), "float32")
    outputs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(0)
        model = network(initial=0.5, seed=seed)
        outputs.append(np.asarray(model(x, training=True)))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()


def test_save_load_and_shrink_on_digits(tmp_path):
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = (data.data / 16).astype("float32"), data.target
    keras.utils.set_random_seed(0)
    model = network(
        alpha=0.1, beta=0.9, initial=0.95, kl_weight=10.0, rate=10.0
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(
        *(x, y), epochs=30, verbose=0, callbacks=[ks.callbacks.Anneal(0, 1)]
    )
    scale = model.layers[1].channel_scale()
    assert 0 < np.count_nonzero(scale) < 40
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    before = predict(model, x)
    small = ks.structured.shrink(model)
    assert [type(layer).__name__ for layer in small.layers] == ["Dense"] * 2
    assert small.layers[0].units == np.count_nonzero(scale)
    np.testing.assert_allclose(predict(small, x), before, atol=1e-4)
    ks.save(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[1].get_config() == model.layers[1].get_config()
    np.testing.assert_array_equal(predict(loaded, x), before)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    model = network(policy, initial=0.5)
    assert model.layers[1].keep.dtype == "float32"
    model.compile("adam", "mse")
    loss = model.fit(np.ones((8, 64)), np.ones((8, 10)), verbose=0)
    assert np.isfinite(loss.history["loss"][0])
    dtype = keras.DTypePolicy(policy).compute_dtype
    assert model.layers[1](np.ones((2, 40))).dtype == dtype


def test_wrong_arguments():
    for wrong in (
        {"alpha": 0},
        {"beta": -1},
        {"initial": 0},
        {"initial": 2},
        {"threshold": 5.0},
    ):
        with pytest.raises(ValueError, match="`alpha` and `beta` above 0"):
            GeneralizedDropout(**wrong)
